"""What Kubeflow and the network have against a submission, and what a step said that failed, in a line each."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipelines.compile import COMPILED
from pipelines.kubeflow import CAS, connect
from pipelines.submit import main
from selfemo.errors import UserError
from tests.pipeline.stub import ROOT, Stub
from tests.pipeline.test_submit import settings, submission

ANSWERS = Path(__file__).parent / "answers"
pytestmark = pytest.mark.no_cover  # no library code, which it would only slow down


@pytest.mark.parametrize("path", ["/pipelines/upload", "/runs", "/experiments"])
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, '{"code": 7, "message": "RBAC: access denied"}', "RBAC: access denied"),
        (400, '{"error": "no such field"}', "no such field"),
        (412, '{"message": "the experiment is archived"}', "cluster.experiment"),
        (401, "<html>Sign in</html>", "a login in front of Kubeflow?"),
        (500, "", "Internal Server Error"),
    ],
)
def test_what_kubeflow_refuses_while_submitting_is_one_line(
    stub: Stub,
    path: str,
    status: int,
    body: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stub.refusal = (path, status, body)
    (tmp_path / "c.json").write_text(settings(stub).to_json())
    command = ["submit", str(tmp_path / "c.json"), "--form", str(COMPILED / "selfemo-5.yaml")]
    monkeypatch.setattr("sys.argv", command)
    assert main() == 2
    error = capsys.readouterr().err
    assert f"selfemo: cluster.host: {stub.url}: Kubeflow Pipelines says no ({status})" in error
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize("cron", ["0 3 * * *", "", "every day"])
def test_what_is_no_schedule_is_refused_before_anybody_is_asked(
    cron: str, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.json").write_text(settings(stub).to_json())
    monkeypatch.setattr("sys.argv", ["submit", str(tmp_path / "c.json"), "--recurring", cron])
    stub.refusal = ("/experiments", 500, "")
    assert main() == 2
    assert f"selfemo: --recurring: {cron!r} has" in capsys.readouterr().err


@pytest.fixture
def behind_tls(stub: Stub, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Kubeflow with a certificate of an authority of its own: its address, and that authority's certificate."""
    pem, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(pem)]
    try:
        subprocess.run([*command, "-days", "2", *names], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl here")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            said = json.dumps(stub.get(parts.path.removeprefix(ROOT), {}) or {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", pem
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("variable", CAS)
def test_a_kubeflow_with_an_authority_of_its_own_is_trusted_where_a_variable_names_it(
    stub: Stub, behind_tls: tuple[str, Path], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, pem = behind_tls
    for name in CAS:
        monkeypatch.delenv(name, raising=False)
    config = settings(stub, f"cluster.host={url}")
    with pytest.raises(UserError, match=f"export {CAS[0]}=FILE"):
        connect(config)
    monkeypatch.setenv(variable, str(pem))
    connect(config)
    monkeypatch.setenv(variable, __file__)
    with pytest.raises(UserError, match=f"{variable}=.*no certificates"):
        connect(config)


def test_the_last_line_of_a_run_that_failed_is_what_the_step_said(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((ANSWERS / "failed_in_prepare.json").read_text())
    pod = "selfemo-5-67hcm-retry-system-container-impl-3165189000"
    stub.logs[pod] = "I0101 launcher\n10:00:00 E prepare failed: meld.csv:3: no such label\n  fix: mend it\nTraceback\n"
    ours = submission(stub)
    run = ours.run()
    stub.workflows[run], stub.states = manifest, ["RUNNING", "FAILED"]
    assert ours.wait(run) == "FAILED"
    said = capsys.readouterr().err.rstrip().splitlines()
    assert said[-2:] == ["Prepare: prepare failed: meld.csv:3: no such label", "  fix: mend it"]
