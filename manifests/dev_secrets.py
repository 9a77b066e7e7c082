"""Secrets of the dev overlay, with random values, in a directory that Git ignores: ``python manifests/dev_secrets.py``.

Those that are there are left as they are.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

PLACE = Path(__file__).parent / "components" / "dev-secrets" / "secrets"


def files(bucket: str = "selfemo") -> dict[str, str]:
    """Contents by name: a user and password for each who talks to a server, with no more rights than that one needs.

    Args:
        bucket: That serving may read.
    """
    access, key, reader, reads, database, admin, client, session, serving = (secrets.token_hex(16) for _ in range(9))
    # The driver has to be named: SQLAlchemy 2.1 takes postgresql:// for another one than the image has.
    uri = f"postgresql+psycopg2://mlflow:{database}@postgres:5432/mlflow"
    identities = [
        {"name": "flywheel", "credentials": [{"accessKey": access, "secretKey": key}], "actions": ["Admin"]},
        {
            "name": "serving",
            "credentials": [{"accessKey": reader, "secretKey": reads}],
            "actions": [f"Read:{bucket}", f"List:{bucket}"],
        },
    ]
    return {
        "selfemo.env": f"AWS_ACCESS_KEY_ID={access}\nAWS_SECRET_ACCESS_KEY={key}\n"
        f"MLFLOW_TRACKING_USERNAME=selfemo\nMLFLOW_TRACKING_PASSWORD={client}\n",
        "serving-s3.env": f"AWS_ACCESS_KEY_ID={reader}\nAWS_SECRET_ACCESS_KEY={reads}\n",
        "s3.json": json.dumps({"identities": identities}, indent=1) + "\n",
        "postgres.env": f"password={database}\n",
        "mlflow.env": f"MLFLOW_BACKEND_STORE_URI={uri}\nMLFLOW_FLASK_SERVER_SECRET_KEY={session}\n"
        f"MLFLOW_CLIENT_USERNAME=selfemo\nMLFLOW_CLIENT_PASSWORD={client}\n",
        "basic_auth.ini": f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {uri}\n"
        f"admin_username = admin\nadmin_password = {admin}\n",
        "serving.env": f"key={serving}\n",
        "git": "",
    }


def write(place: Path) -> bool:
    """Write them, readable by their owner alone; False if they are there."""
    if place.exists():
        return False
    partial = place.with_name(f".{place.name}-{os.getpid()}")
    partial.mkdir(mode=0o700, parents=True)
    for name, text in files().items():
        (partial / name).touch(mode=0o600)
        (partial / name).write_text(text)
    partial.rename(place)
    return True


if __name__ == "__main__":
    print(f"{PLACE}: {'written' if write(PLACE) else 'already there'}")
