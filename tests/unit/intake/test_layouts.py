"""The forms in which corpora are published: small made-up files of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.rows import BadRows
from tests.unit.intake.conftest import Importer


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_empathetic_dialogues(tmp_path: Path, importer: Importer) -> None:
    header = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\n"
    for split, key in (("train", "hit:0_conv:1"), ("valid", "hit:3_conv:7")):
        rows = (
            f"{key},1,proud,I won a prize_comma_ a big one.,1,I won a prize_comma_ a big one!,5|5|5_2|2|5,\n"
            f'{key},2,proud,I won a prize_comma_ a big one.,0,"Congrats" says my cat.,5|5|5_2|2|5,\n'
            f"{key},3,proud,I won a prize_comma_ a big one.,1,Thanks.,5|5|5_2|2|5,<TAG>\n"
        )
        (tmp_path / f"{split}.csv").write_text(header + rows)
    done = importer(tmp_path / "train.csv", tmp_path / "valid.csv")
    assert [d.id for d in done.dialogues] == ["corpus/train/hit:0_conv:1", "corpus/dev/hit:3_conv:7"]
    assert done.said[0] == [("1", "I won a prize, a big one!"), ("0", '"Congrats" says my cat.'), ("1", "Thanks.")]
    assert done.gold[0] == [("proud",), None, ("proud",)]  # the emotion is the speaker's, not the listener's
    assert done.report["columns"]["layout"] == "EmpatheticDialogues"


def test_goemotions_simplified(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "emotions.txt").write_text("admiration\nanger\njoy\nneutral\n")
    (tmp_path / "train.tsv").write_text('So "good" a day.\t0,2\teebbqej\n"Go away" he said, again\t1\ted00q6i\n')
    (tmp_path / "dev.tsv").write_text("It is Tuesday, I think.\t3\teezlygj\n")
    done = importer(tmp_path / "train.tsv", tmp_path / "dev.tsv")
    assert done.said == [
        [("Someone", 'So "good" a day.')],
        [("Someone", '"Go away" he said, again')],
        [("Someone", "It is Tuesday, I think.")],
    ]
    assert done.gold == [[("admiration", "joy")], [("anger",)], [("neutral",)]]
    assert [d.split for d in done.dialogues] == ["train", "train", "dev"]


def test_goemotions_raw(tmp_path: Path, importer: Importer) -> None:
    header = "text,id,author,subreddit,link_id,parent_id,created_utc,rater_id,example_very_unclear,anger,joy,neutral\n"
    rows = (
        "What a game.,ed1,ann,nba,t3_a,t1_a,1548381039.0,37,False,0,1,0\n"
        "What a game.,ed1,ann,nba,t3_a,t1_a,1548381039.0,18,False,0,1,0\n"
        "Unclear to me.,ed2,ben,nba,t3_b,t1_b,1548381040.0,37,True,0,0,0\n"
    )
    (tmp_path / "goemotions_1.csv").write_text(header + rows)
    (tmp_path / "goemotions_2.csv").write_text(
        header + "What a game.,ed1,ann,nba,t3_a,t1_a,1548381039.0,5,False,1,0,0\n"
    )
    done = importer(tmp_path / "goemotions_1.csv", tmp_path / "goemotions_2.csv", "--shares", "1,0,0")
    assert done.gold == [[("joy",)], [None]]  # at least half of the raters
    assert done.dialogues[0].turns[0].votes == {"joy": 2.0, "anger": 1.0}
    assert done.dialogues[1].turns[0].votes is None


def test_esconv(tmp_path: Path, importer: Importer) -> None:
    dialog = [
        {"speaker": "supporter", "annotation": {"strategy": "Question"}, "content": "Hello, how are you?\n"},
        {"speaker": "seeker", "annotation": {}, "content": "My exams worry me."},
    ]
    row = {"experience_type": "Current", "emotion_type": "anxiety", "problem_type": "exams", "situation": "s"}
    (tmp_path / "ESConv.json").write_text(json.dumps([{**row, "dialog": dialog}, {**row, "dialog": dialog}]))
    done = importer(tmp_path / "ESConv.json")
    assert done.said[0] == [("supporter", "Hello, how are you?\n"), ("seeker", "My exams worry me.")]
    assert done.gold[0] == [None, ("anxiety",)]


def test_esconv_as_the_hub_has_it(tmp_path: Path, importer: Importer) -> None:
    dialog = [{"text": "Hello.", "speaker": "sys", "strategy": "Others"}, {"text": "I am low.", "speaker": "usr"}]
    row = {"emotion_type": "sadness", "problem_type": "job", "situation": "s", "dialog": dialog}
    done = importer(jsonl(tmp_path / "train.jsonl", {"text": json.dumps(row)}))
    assert (done.said, done.gold) == ([[("sys", "Hello."), ("usr", "I am low.")]], [[None, ("sadness",)]])


def test_dailydialog_of_hugging_face(tmp_path: Path, importer: Importer) -> None:
    import datasets

    number = datasets.Sequence(datasets.Value("int32"))
    features = datasets.Features(
        {"dialog": datasets.Sequence(datasets.Value("string")), "act": number, "emotion": number}
    )
    rows = {"dialog": [["Hi !", "It is late .", "Oh !"]], "act": [[1, 1, 2]], "emotion": [[0, 1, 6]]}
    made = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": made, "validation": made}).save_to_disk(str(tmp_path / "saved"))
    made.to_parquet(str(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet"))
    made.to_parquet(str(tmp_path / "hub" / "data" / "test-00000-of-00001.parquet"))
    for given, splits in (("saved", ["train", "dev"]), ("hub", ["test", "train"])):
        done = importer(tmp_path / given, out=f"from-{given}")
        assert [d.split for d in done.dialogues] == splits
        assert done.said[0] == [("A", "Hi !"), ("B", "It is late ."), ("A", "Oh !")]
        assert done.gold[0] == [("neutral",), ("anger",), ("surprise",)]


def test_labels_that_a_hugging_face_dataset_names(tmp_path: Path, importer: Importer) -> None:
    import datasets

    label = datasets.ClassLabel(names=["ruhig", "froh"])
    features = datasets.Features({"text": datasets.Value("string"), "labels": datasets.Sequence(label)})
    made = datasets.Dataset.from_dict({"text": ["Ja.", "Hurra!"], "labels": [[0], [1, 0]]}, features=features)
    made.save_to_disk(str(tmp_path / "one"))
    done = importer(tmp_path / "one", "--shares", "1,0,0")
    assert done.gold == [[("ruhig",)], [("froh", "ruhig")]]


def test_iemocap_with_its_votes(tmp_path: Path, importer: Importer) -> None:
    folder = tmp_path / "iemocap" / "Session1" / "dialog"
    (folder / "EmoEvaluation").mkdir(parents=True)
    (folder / "transcriptions").mkdir()
    (folder / "transcriptions" / "Ses01F_impro01.txt").write_text(
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\n"
        "Ses01F_impro01_M000 [010.0100-011.3925]: Do you have your forms?\n"
        "M: [LAUGHTER]\n"
    )
    (folder / "EmoEvaluation" / "Ses01F_impro01.txt").write_text(
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\n"
        "C-E2:\tNeutral;\t()\nC-E3:\tNeutral; Frustration;\t()\nC-E4:\tNeutral;\t()\n"
        "C-F1:\tAnger;\t()\nA-E3:\tval 3;\t()\n\n"
        "[10.0100 - 11.3925]\tSes01F_impro01_M000\txxx\t[2.5000, 3.0000, 2.5000]\n"
        "C-E2:\tHappiness;\t()\nC-E3:\tAnger;\t()\nC-E4:\tOther;\t(bored)\n"
    )
    done = importer(tmp_path / "iemocap", "--shares", "1,0,0")
    assert done.said == [[("Woman", "Excuse me."), ("Man", "Do you have your forms?")]]
    assert done.gold == [[("neutral",), None]]
    assert [t.votes for t in done.dialogues[0].turns] == [
        {"neutral": 3.0, "frustration": 1.0},
        {"happiness": 1.0, "anger": 1.0, "other": 1.0},
    ]


def test_meld(tmp_path: Path, importer: Importer) -> None:
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\r\n"
    rows = (
        '1,"Well, well.",Ann,joy,positive,0,1,8,21,"00:16:16,059","00:16:21,731"\r\n'
        "2,Hm.,Ben,neutral,neutral,0,0,8,21,a,b\r\n"
    )
    for split in ("train", "dev"):
        (tmp_path / f"{split}_sent_emo.csv").write_bytes((header + rows).encode())
    done = importer(tmp_path / "train_sent_emo.csv", tmp_path / "dev_sent_emo.csv")
    assert [d.id for d in done.dialogues] == ["corpus/train/0", "corpus/dev/0"]
    assert done.said[0] == [("Ben", "Hm."), ("Ann", "Well, well.")]
    assert done.gold[0] == [("neutral",), ("joy",)]


def test_convokit(tmp_path: Path, importer: Importer) -> None:
    jsonl(
        tmp_path / "utterances.jsonl",
        {
            "id": "u1",
            "conversation_id": "u1",
            "text": "Hi.",
            "speaker": "s1",
            "meta": {"emotion": "joy"},
            "reply-to": None,
            "timestamp": 5,
        },
        {
            "id": "u3",
            "conversation_id": "u3",
            "text": "So?",
            "speaker": "s2",
            "meta": {"emotion": None},
            "reply-to": None,
            "timestamp": 1,
        },
        {
            "id": "u2",
            "conversation_id": "u1",
            "text": "Hello!",
            "speaker": "s2",
            "meta": {"emotion": "fear"},
            "reply-to": "u1",
            "timestamp": 9,
        },
    )
    (tmp_path / "conversations.json").write_text(
        json.dumps({"u1": {"meta": {"split": "train"}}, "u3": {"meta": {"split": "test"}}})
    )
    (tmp_path / "speakers.json").write_text(json.dumps({"s1": {"meta": {"gender": "f"}}}))
    (tmp_path / "index.json").write_text("{}")
    done = importer(tmp_path)
    assert [(d.id, d.split) for d in done.dialogues] == [("corpus/train/u1", "train"), ("corpus/test/u3", "test")]
    assert done.said == [[("s1", "Hi."), ("s2", "Hello!")], [("s2", "So?")]]
    assert done.gold == [[("joy",), ("fear",)], [None]]
    (source,) = done.report["files"]
    assert (source["files"], source["rows"]) == (4, 3)  # utterances, conversations, speakers, index
    (tmp_path / "speakers.json").write_text("{}")
    assert importer(tmp_path, out="again").report["files"][0]["sha256"] != source["sha256"]


def test_chats_as_clients_of_openai_keep_them(tmp_path: Path, importer: Importer) -> None:
    parts = [{"type": "text", "text": "I lost"}, {"type": "text", "text": "my key."}]
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "Oh no."},
    ]
    done = importer(jsonl(tmp_path / "chats.jsonl", {"messages": messages}, {"messages": messages[1:]}))
    assert done.said == [[("user", "I lost\nmy key."), ("assistant", "Oh no.")]] * 2
    assert done.gold == [[None, None]] * 2
    assert done.report["left out"] == {"bad rows": 0, "system messages": 1}
    assert not (done.out / "labels.yaml").exists()  # unlabelled: the configuration names what is to be read


def test_a_chat_that_is_a_list_with_times(tmp_path: Path, importer: Importer) -> None:
    messages = [
        {"time": "2026-03-01T10:00:00", "from": "Ann", "message": "Are you there?"},
        {"time": "2026-03-01T10:05:00", "from": "Ben", "message": "Yes."},
        {"time": "2026-03-02T09:00:00", "from": "Ben", "message": "Good morning!"},
    ]
    (tmp_path / "chat.json").write_text(json.dumps(messages))
    assert [len(d.turns) for d in importer(tmp_path / "chat.json").dialogues] == [2, 1]
    assert [len(d.turns) for d in importer(tmp_path / "chat.json", "--gap", "0", out="whole").dialogues] == [3]


def test_json_by_split_by_id_and_under_a_key(tmp_path: Path, importer: Importer) -> None:
    turns = [{"speaker": "A", "text": "Hi."}, {"speaker": "B", "text": "Hello."}]
    (tmp_path / "splits.json").write_text(json.dumps({"train": [{"turns": turns}], "valid": [{"turns": turns}]}))
    (tmp_path / "ids.json").write_text(json.dumps({"x7": {"turns": turns}, "x8": {"turns": turns[:1]}}))
    (tmp_path / "key.json").write_text(json.dumps({"version": 1, "data": [{"turns": turns}]}))
    assert [d.split for d in importer(tmp_path / "splits.json", out="s").dialogues] == ["train", "dev"]
    assert [d.id.rsplit("/", 1)[1] for d in importer(tmp_path / "ids.json", out="i").dialogues] == ["x7", "x8"]
    assert importer(tmp_path / "key.json", out="k").said == [[("A", "Hi."), ("B", "Hello.")]]


def test_conversations_as_share_gpt_keeps_them(tmp_path: Path, importer: Importer) -> None:
    said = [
        {"from": "system", "value": "Be kind."},
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello"},
    ]
    done = importer(jsonl(tmp_path / "chats.jsonl", {"id": "a", "conversations": said}))
    assert done.said == [[("human", "Hi"), ("gpt", "Hello")]]


def test_turns_that_lie_as_an_object_of_lists(tmp_path: Path, importer: Importer) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    turns = [{"text": ["Hi", "Oh"], "speaker": ["A", "B"], "emotion": ["joy", "fear"]}]
    pq.write_table(pa.table({"id": ["x"], "turns": turns}), tmp_path / "t.parquet")
    done = importer(tmp_path / "t.parquet")
    assert (done.said, done.gold) == ([[("A", "Hi"), ("B", "Oh")]], [[("joy",), ("fear",)]])


def test_a_hub_directory_of_several_parts_is_refused(tmp_path: Path, importer: Importer) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in ("raw", "simplified"):
        (tmp_path / "hub" / part).mkdir(parents=True)
        pq.write_table(pa.table({"text": ["x"]}), tmp_path / "hub" / part / "train-00000-of-00001.parquet")
    done = importer(tmp_path / "hub")
    assert (done.code, "holds several parts: raw, simplified" in done.output) == (2, True)
    assert importer(tmp_path / "hub" / "raw").said == [[("Someone", "x")]]


def test_a_label_of_a_speaker_who_never_speaks_is_refused(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "t.csv").write_text("conv_id,speaker,text,emotion\n1,Ann,x,joy\n1,Ben,y,joy\n")
    assert importer(tmp_path / "t.csv", "--label-of", "ann").gold == [[("joy",), None]]
    done = importer(tmp_path / "t.csv", "--label-of", "Cy", out="other")
    assert (done.code, "no labelled turn of 'Cy'" in done.output) == (2, True)


def test_real_meld_is_read_as_its_own_loader_reads_it(importer: Importer, meld_directory: Path) -> None:
    path = meld_directory
    done = importer(path)
    loaded = load_corpus("meld", str(path), BadRows())
    ids = {d.id.removeprefix("meld/"): d for d in loaded}
    assert {d.id.removeprefix("corpus/") for d in done.dialogues} == ids.keys()
    for dialogue in done.dialogues:
        assert [t.gold for t in dialogue.turns] == [t.gold for t in ids[dialogue.id.removeprefix("corpus/")].turns]
