"""What an offline W&B run holds, read back from its file."""

import json
import struct

from wandb.proto import wandb_internal_pb2

from ipr.runs.train import train


def records(path):
    """The records of a .wandb file: a header of 7 bytes, then LevelDB log blocks of 32 KiB."""
    content, position, whole = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        whole += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a full record, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def test_an_offline_run_tells_what_the_record_tells(request_for):
    run = train(request_for("scheme=passport_v2", "logger=wandb", "tags=[mine]"))
    (path,) = run.folder.path.glob("wandb/offline-run-*/*.wandb")
    about, summary, history, exits, config = None, {}, [], [], {}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            about = record.run
            config |= {item.key: item.value_json for item in record.run.config.update}
        elif kind == "config":
            config |= {item.key: item.value_json for item in record.config.update}
        elif kind == "summary":
            summary |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.summary.update}
        elif kind == "history":
            history.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item})
        elif kind == "exit":
            exits.append(record.exit.exit_code)
    assert about.run_group == about.display_name == run.folder.key
    assert about.job_type == "train"
    assert set(about.tags) == {"passport_v2", "alexnet", "gn", "digits", "mine"}
    assert summary["accuracy_genuine"] == run.record.accuracy_genuine
    assert summary["verified"] == run.record.verified
    losses = [row["train/loss"] for row in history if "train/loss" in row]
    assert len(losses) == 2  # one an epoch
    assert json.loads(config["seed"]) == 0
    assert exits == [0]


def test_each_run_of_a_process_has_its_own(request_for):
    first = train(request_for("scheme=passport_v1", "passport=shuffled", "logger=wandb"))
    runs = list(first.folder.path.parent.glob("*/wandb/offline-run-*"))
    assert len(runs) == 2  # the baseline's and the scheme's
    assert len({path.parent for path in runs}) == 2
