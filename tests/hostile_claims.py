"""Good claims of several kinds, and what somebody whom nobody trusts makes of one: each in one place."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from ipr.passport.chameleon import P

SMALL = (
    "model.width=0.25", "dataset.image_size=8", "dataset.limit_train=96", "dataset.limit_test=40", "passport=random",
    "trigger_set.size=6", "optimizer.batch_size=32", "trainer.max_epochs=1", "owner=Ada",
)  # fmt: skip
KINDS = {
    "bound": ("scheme=passport_v3", "scheme.bound=true"),
    "text": ("scheme=passport_v1", "scheme.signature=mine"),
    "uchida": ("scheme=uchida", "scheme.bits=64", "scheme.signature=mine"),
    "deepmarks": ("scheme=deepmarks", "scheme.order=3"),
    "deepsigns": ("scheme=deepsigns", "scheme.images=4", "scheme.bits=8"),
    "neuralmark": ("scheme=neuralmark", "scheme.bits=64", "scheme.pooled=80"),
    "greedy_residuals": ("scheme=greedy_residuals", "scheme.bits=64", "scheme.signature=mine"),
    "trigger_set": ("scheme=trigger_set",),
    "accessory": ("scheme=passport_aware", "scheme.bits=64"),
    "hashed": ("scheme=steganographic",),
    "chameleon": ("scheme=chip",),
    "ipguard": ("scheme=ipguard",),
    "lineage": ("scheme=lineage",),
    "adapters": ("scheme=seal", "scheme.rank=4"),
    "dataset_inference": ("scheme=dataset_inference",),
}


def facts(change):
    """Changes claim.json: by a function of its values, which may return others."""

    def damage(folder: Path) -> None:
        path = folder / "claim.json"
        values = json.loads(path.read_text())
        changed = change(values)
        path.write_text(changed if isinstance(changed, str) else json.dumps(values if changed is None else changed))

    return damage


def at(*keys, value):
    """Changes one value of claim.json."""

    def change(values):
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = value

    return facts(change)


def tensors(change):
    """Changes secrets.safetensors by a function of its tensors."""

    def damage(folder: Path) -> None:
        path = folder / "secrets.safetensors"
        values = load_file(path)
        change(values)
        path.write_bytes(save({name: tensor.contiguous() for name, tensor in values.items()}))

    return damage


def put(name, make):
    """Puts another tensor under a name, made of the one that was there."""
    return tensors(lambda t: t.update({name: make(t.get(name))}))


def header(change):
    """Changes the header of secrets.safetensors, and leaves the elements."""

    def damage(folder: Path) -> None:
        path = folder / "secrets.safetensors"
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        written = change(content[8 : 8 + length])
        path.write_bytes(struct.pack("<Q", len(written)) + written + content[8 + length :])

    return damage


def shape_of(name, shape):
    def change(content):
        parsed = json.loads(content)
        parsed[name]["shape"] = shape
        return json.dumps(parsed).encode()

    return header(change)


def moved(name, make):
    """Puts something else in the place of a file; the file lies beside the claim then."""

    def damage(folder: Path) -> None:
        (folder / name).rename(folder.parent / f"away-{name}")
        make(folder / name, folder.parent / f"away-{name}")

    return damage


def archive(kind):
    def damage(folder: Path) -> None:
        away = folder.rename(folder.with_name("away"))
        if kind == "zip":
            with zipfile.ZipFile(folder, "w") as file:
                file.write(away / "claim.json", "../claim.json")
        elif kind == "tar":
            with tarfile.open(folder, "w") as file:
                file.add(away / "claim.json", "claim.json")
        elif kind == "link":
            folder.symlink_to(away)
        elif kind == "loop":
            folder.symlink_to(folder)
        else:
            folder.write_text("a claim")

    return damage


def written(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def added(path, content):
    return lambda folder: path_of(folder, path).write_bytes(content)


def path_of(folder, path):
    (folder / path).touch(0o600)
    return folder / path


def sparse(size):
    """A file of the size that takes no room."""
    return lambda folder: os.truncate(folder / "secrets.safetensors", size)


def own_dtype(dtype):
    return lambda t: t.to(dtype)


def infinite(tensor):
    tensor = tensor.clone()
    tensor.view(-1)[3] = float("inf")
    return tensor


def half_of(which):
    """A passport without P_gamma (0) or P_beta (1)."""
    return lambda p: p * (torch.arange(2) != which)[:, None, None, None]


def row(make):
    """Puts another first row into a projection, made of all rows."""
    return lambda x: torch.cat([make(x)[None], x[1:]])


NESTED = "[" * 100_000 + "]" * 100_000
PASSPORT, BITS = "passport/conv4", "signature/conv4"

CASES = {
    # the folder
    "a file": ("bound", archive("file"), "is no folder"),
    "a zip archive": ("bound", archive("zip"), "is no folder"),
    "a tar archive": ("bound", archive("tar"), "is no folder"),
    "a link to a claim": ("bound", archive("link"), "is a link"),
    "a link to itself": ("bound", archive("loop"), "is a link"),
    "nothing": ("bound", shutil.rmtree, "cannot be read"),
    "an empty folder": ("bound", lambda f: [p.unlink() for p in f.iterdir()], "claim.json"),
    "claim.json is a link": ("bound", moved("claim.json", Path.symlink_to), "claim.json is a link"),
    "secrets are a link": ("bound", moved("secrets.safetensors", Path.symlink_to), "secrets.safetensors is a link"),
    "claim.json is a pipe": ("bound", moved("claim.json", lambda p, _: os.mkfifo(p)), "claim.json is no regular file"),
    "secrets are a pipe": ("bound", moved("secrets.safetensors", lambda p, _: os.mkfifo(p)), "is no regular file"),
    "claim.json is a folder": ("bound", moved("claim.json", lambda p, _: p.mkdir()), "claim.json is no regular file"),
    "a folder in it": ("bound", lambda f: (f / "more").mkdir(), "more is no regular file"),
    "a foreign file": ("bound", added("run.sh", b"#!/bin/sh"), "'run.sh', which is no part"),
    "a foreign link": ("bound", lambda f: (f / "passwd").symlink_to("/etc/passwd"), "passwd is a link"),
    "readable by others": ("bound", lambda f: (f / "claim.json").chmod(0o644), "chmod 600 claim.json"),
    "open to others": ("bound", lambda f: f.chmod(0o755), "chmod 700"),
    # claim.json
    "empty": ("bound", written("claim.json", b""), "is damaged (claim.json"),
    "not UTF-8": ("bound", written("claim.json", b"\xff\xfe\x00"), "is damaged (claim.json"),
    "larger than 1 MiB": ("bound", facts(lambda v: json.dumps(v) + " " * 2**20), "larger than 1048576 bytes"),
    "nested beyond the stack": ("bound", written("claim.json", NESTED.encode()), "nested too deep"),
    "nested deep": ("bound", at("architecture", "x", value=json.loads("[" * 50 + "]" * 50)), "nested too deep"),
    "a list": ("bound", facts(lambda v: [v]), "is no mapping"),
    "NaN": ("bound", at("thresholds", "fidelity", value=float("nan")), "is not finite"),
    "infinity": ("bound", at("thresholds", "p_value", value=float("inf")), "is not finite"),
    "a float beyond floats": ("bound", facts(lambda v: json.dumps(v).replace("0.03", "1e999")), "is not finite"),
    "an integer of 5000 digits": ("bound", facts(lambda v: json.dumps(v).replace("0.03", "9" * 5000)), "is damaged"),
    "a key twice": ("bound", facts(lambda v: json.dumps(v).replace('"owner"', '"kind": "x", "owner"')), "given twice"),
    "half a surrogate pair": ("bound", at("owner", value="\ud800"), "cannot be seen"),
    "a newer version": ("bound", at("schema_version", value=6), "schema version 6, not 2 to 5"),
    "an older version": ("bound", at("schema_version", value=3), "schema_version is not what it should be"),
    "a version that is true": ("bound", at("schema_version", value=True), "no schema version"),
    "no version": ("bound", facts(lambda v: v.pop("schema_version") and None), "no schema version"),
    "an unknown kind": ("bound", at("kind", value="os.system"), "kind that nothing installed knows"),
    "a kind that is a mapping": ("bound", at("kind", value={}), "missing or wrong"),
    "another kind": ("bound", at("kind", value="uchida"), "missing or wrong"),
    "an unknown fact": ("bound", at("command", value="rm"), "'command', which belongs to no such claim"),
    "a name that steers a terminal": ("bound", at("owner", value="\x1b[2J"), "cannot be seen"),
    "thresholds that are no mapping": ("bound", at("thresholds", value=[0.1]), "missing or wrong"),
    "a threshold too many": ("bound", at("thresholds", "secret", value=1), "thresholds is not what it should be"),
    "a threshold that is true": ("bound", at("thresholds", "p_value", value=True), "is not a fraction"),
    "a threshold above 1": ("bound", at("thresholds", "fidelity", value=7), "is not a fraction"),
    "layers that are a text": ("bound", at("layers", value="conv4"), "missing or wrong"),
    "layers that are a number": ("bound", at("layers", value=3), "missing or wrong"),
    "a layer twice": ("bound", at("layers", value=["conv3", "conv4", "conv5", "conv5"]), "layers is not what"),
    "a layer outside": ("bound", at("layers", value=["../conv3", "conv4", "conv5"]), "missing or wrong"),
    "no layer": ("text", at("layers", value=[]), "has no bit"),
    "a length that is a text": ("text", at("text_bytes", value="4"), "text_bytes"),
    "a length below 0": ("text", at("text_bytes", value=-1), "text_bytes"),
    "a length beyond the bits": ("uchida", at("text_bytes", value=10**30), "text_bytes"),
    "an owner of 1000 letters": ("bound", at("owner", value="a" * 1000), "is not one line"),
    "an owner who is another": ("bound", at("owner", value="Eve"), "does not follow"),
    "a nonce of the forger's": ("bound", at("binding", value="scrypt-17-relative:" + "00" * 32), "does not follow"),
    "a fast hash for a slow one": ("bound", at("binding", value="00" * 32), "does not follow"),
    "a slow hash of his own": ("bound", at("binding", value="scrypt-1:" + "00" * 32), "hexadecimal"),
    "a nonce that is none": ("bound", at("binding", value="xyz"), "hexadecimal"),
    "a binding to a free signature": ("text", at("binding", value="00" * 32), "does not follow"),
    "an architecture that is a text": ("bound", at("architecture", value="alexnet"), "missing or wrong"),
    "an unknown network": ("bound", at("architecture", "model", "name", value="vgg"), "is not a model"),
    "a network that is no text": ("bound", at("architecture", "model", "name", value=[1]), "is no text"),
    "an unknown norm": ("bound", at("architecture", "model", "norm", value={}), "is no text"),
    "a width of 10^9": ("bound", at("architecture", "model", "width", value=1e9), "architecture.model.width"),
    "a width below 0": ("bound", at("architecture", "model", "width", value=-1), "architecture.model.width"),
    "a width that is a text": ("bound", at("architecture", "model", "width", value="1"), "architecture.model.width"),
    "images of 10^9 pixels": ("text", at("architecture", "image_size", value=10**9), "architecture.image_size"),
    "classes that are a fraction": ("text", at("architecture", "num_classes", value=2.5), "architecture.num_classes"),
    "a network beyond memory": ("text", facts(lambda v: (v["architecture"].update(image_size=512, num_classes=10**5),
                                v["architecture"]["model"].update(width=16), v.pop("images"),
                                v.update(schema_version=4))[0]), "parameters, more than"),
    "a network of other sizes": ("text", at("architecture", "model", "width", value=0.5), "its shape must be"),
    "another network": ("text", at("architecture", "model", "name", value="resnet18"), "no convolution"),
    "no network": ("text", facts(lambda v: v["architecture"].pop("model") and None), "does not name 'model'"),
    # secrets.safetensors
    "cut": ("bound", lambda f: os.truncate(f / "secrets.safetensors", 9000), "is damaged (secrets.safetensors"),
    "cut in its header": ("bound", lambda f: os.truncate(f / "secrets.safetensors", 20), "is damaged"),
    "no byte of it": ("bound", lambda f: os.truncate(f / "secrets.safetensors", 0), "is damaged"),
    "bytes behind it": ("bound", sparse(50_000), "is damaged (secrets.safetensors"),
    "larger than 1 GiB": ("bound", sparse(2**30 + 1), "more than 1073741824"),
    "a pickle": ("bound", written("secrets.safetensors", b"\x80\x04\x95\x0b\x00\x00\x00cos\nsystem\n"), "is damaged"),
    "a tensor of 10^12 elements": ("bound", shape_of(PASSPORT, [2, 10**6, 10**3, 500]), "is damaged"),
    "a tensor of 2^64 elements": ("bound", shape_of(PASSPORT, [2**32, 2**32, 1, 1]), "is damaged"),
    "a shape below 0": ("bound", shape_of(PASSPORT, [2, -96, 2, 2]), "is damaged"),
    "a header that is none": ("bound", header(lambda h: b"x" * len(h)), "is damaged"),
    "an unknown type": ("bound", header(lambda h: h.replace(b'"I8"', b'"X8"')), "is damaged"),
    "int8 for a passport": ("text", put(PASSPORT, own_dtype(torch.int8)), "is no passport"),
    "complex numbers": ("text", put(PASSPORT, own_dtype(torch.complex64)), "complex64"),
    "floats for bits": ("text", put(BITS, own_dtype(torch.float32)), "signature of conv4"),
    "bits that are -2": ("text", put(BITS, lambda b: b * -2), "signature of conv4"),
    "bits that are 2": ("text", put(BITS, lambda b: b * 2), "signature of conv4"),
    "bits that are -128": ("text", put(BITS, lambda b: torch.full_like(b, -128)), "signature of conv4"),
    "other bits than bound ones": ("bound", put(BITS, torch.neg), "does not follow"),
    "NaN in a passport": ("text", put(PASSPORT, lambda p: p * float("nan")), "are not finite"),
    "infinity in a passport": ("text", put(PASSPORT, infinite), "are not finite"),
    "infinity in a projection": ("uchida", put("projection", infinite), "are not finite"),
    "a passport of one half": ("text", put(PASSPORT, lambda p: p[:1]), "is no passport"),
    "a passport without elements": ("text", put(PASSPORT, lambda p: p[:0]), "is empty"),
    "a passport for other images": ("text", put(PASSPORT, lambda p: p.repeat(1, 1, 2, 2)), "its shape must be"),
    "more bits than channels": ("text", put(BITS, lambda b: b.repeat(2)), "its shape must be"),
    "a passport too few": ("text", tensors(lambda t: t.pop(PASSPORT)), "missing or wrong"),
    "a tensor's name that steers a terminal": ("text", put("\x1b[2J", lambda _: torch.ones(3)), "has no name"),
    "a foreign tensor": ("text", put("conv1.weight", lambda _: torch.ones(3)), "'conv1.weight', which belongs"),
    "labels without images": ("bound", tensors(lambda t: t.pop("trigger_set/pixels")), "images or labels, not both"),
    "statistics of batch norms": (
        "bound", put("statistics/conv3", lambda _: torch.ones(2, 32)), "'statistics/conv3', which belongs"
    ),
    "a label below 0": ("bound", put("trigger_set/labels", lambda t: t - 11), "below 0"),
    "a label beyond the classes": ("bound", put("trigger_set/labels", lambda t: t + 10), "beyond its 10 classes"),
    "a label too few": ("bound", put("trigger_set/labels", lambda t: t[1:]), "one label for each"),
    "no trigger image": ("trigger_set", put("pixels", lambda p: p[:0]), "is empty"),
    "images that are floats": ("trigger_set", put("pixels", own_dtype(torch.float32)), "are not bytes"),
    "images of another size": ("trigger_set", put("pixels", lambda p: p[:, :4]), "images of shape"),
    "a chance that suits the claimant": ("trigger_set", at("choices", value=10**9), "counts 1000000000 answers"),
    "a chance that is a text": ("trigger_set", at("choices", value="10"), "choices is no int"),
    "a layer that is a list": ("uchida", at("layer", value=["conv4"]), "layer is no str"),
    "a layer of no network": ("uchida", at("layer", value="conv9"), "is no convolution"),
    "a projection of another layer": ("uchida", put("projection", lambda x: x[:, 1:]), "mean filter"),
    "bits without end": ("uchida", tensors(lambda t: t.update(bits=t["bits"].repeat(2**12),
                           projection=torch.ones(2**18, 1))), "holds 262144 bits and labels"),
    "a basis of another size": ("deepmarks", put("basis", lambda b: b[1:]), "basis of shape"),
    # what scales pass through
    "no accessory of a layer": ("accessory", tensors(lambda t: t.pop("accessory/conv4/into")), "missing or wrong"),
    "no accessory at all": ("accessory", tensors(lambda t: [t.pop(n) for n in [*t] if n.startswith("accessory/")]),
                            "missing or wrong"),
    "an accessory of another width": ("accessory", put("accessory/conv4/into", lambda f: f[:3]), "shapes"),
    "an accessory for more channels": ("accessory", put("accessory/conv4/out", lambda f: f.repeat(2, 1)), "shapes"),
    "an accessory of whole numbers": ("accessory", put("accessory/conv4/out", own_dtype(torch.int64)), "set of floats"),
    "NaN in an accessory": ("accessory", put("accessory/conv4/into", lambda f: f * float("nan")), "are not finite"),
    "infinity in an accessory": ("accessory", put("accessory/conv4/into", infinite), "are not finite"),
    "an accessory beyond floats": ("accessory", put("accessory/conv4/out", lambda f: f * 1e38 * 1e3), "not finite"),
    "an accessory that overflows": ("accessory", tensors(lambda t: t.update({n: f.sign() * 1e30 for n, f in t.items()
                                    if n.startswith("accessory/")})), "scales of conv3: are not finite"),
    "an accessory with more": ("accessory", put("accessory/conv4/more", lambda _: torch.ones(3)), "conv4/more'"),
    "an accessory of a layer that is not protected": (
        "accessory", put("accessory/conv1/into", lambda _: torch.ones(3)), "'accessory/conv1/into', which belongs"
    ),
    "an accessory for an ordinary passport": (
        "text", put("accessory/conv4/into", lambda _: torch.ones(3)), "'accessory/conv4/into', which belongs"
    ),
    "scales behind an accessory": (
        "accessory", tensors(lambda t: t.update({"scales/conv4": torch.ones(2, 64)})), "'scales/conv4', which belongs"
    ),
    "an inner scale too few": ("hashed", tensors(lambda t: t.pop("accessory/conv4/scale")), "missing or wrong"),
    "an inner scale of another layer": ("hashed", put("accessory/conv4/scale", lambda s: s[1:]), "shapes"),
    "other bits than hashed ones": ("hashed", put(BITS, torch.neg), "is not what the passport hashes to"),
    "another hash": ("hashed", at("binding", value="md5"), "is not sha-512"),
    "a text in a hash": ("hashed", at("text_bytes", value=1), "a hash holds no text"),
    "other bits than the hash gives": ("chameleon", put(BITS, torch.neg), "is not what the passport hashes to"),
    "another owner of a hash": ("chameleon", at("owner", value="Eve"), "is not what the passport hashes to"),
    "a hash that is a number": ("chameleon", at("binding", value=5), "is not chameleon-2048"),
    "a hash without digits": ("chameleon", at("binding", value="chameleon-2048:00:00"), "is not chameleon-2048"),
    "a key that is 1": ("chameleon", at("binding", value=f"chameleon-2048:{1:0512x}:{1:0512x}"), "holds no key"),
    "a key outside the group": ("chameleon", at("binding", value=f"chameleon-2048:{P - 2:0512x}:{1:0512x}"), "no key"),
    "a key beyond the group": ("chameleon", at("binding", value=f"chameleon-2048:{'f' * 512}:{1:0512x}"), "no key"),
    "a blinding beyond the group": ("chameleon", at("binding", value=f"chameleon-2048:{4:0512x}:{P - 1:x}"), "no key"),
    "bits that are no hash": ("neuralmark", put("bits", torch.neg), "are not the hash of the key"),
    "a key off by its last digit": ("neuralmark", put("key", lambda k: k.nextafter(k + 1)), "not the hash of the key"),
    "a key of another's": ("neuralmark", put("key", lambda k: k.flip(0)), "are not the hash of the key"),
    "a key of doubles": ("neuralmark", put("key", own_dtype(torch.float64)), "is not made of float32"),
    "a key of bytes": ("neuralmark", put("key", own_dtype(torch.uint8)), "is not made of finite numbers"),
    "infinity in a key": ("neuralmark", put("key", infinite), "are not finite"),
    "a key for fewer bits": ("neuralmark", put("key", lambda k: k[:, 1:]), "key of shape (80, 63)"),
    "rounds without end": ("neuralmark", at("rounds", value=10**9), "is no number from 1 to 64"),
    "no round": ("neuralmark", at("rounds", value=0), "is no number from 1 to 64"),
    "rounds that are a text": ("neuralmark", at("rounds", value="4"), "rounds is no int"),
    "rounds that are true": ("neuralmark", at("rounds", value=True), "rounds is no int"),
    "rounds that leave nothing": ("neuralmark", at("rounds", value=40), "the filter leaves 0 weights"),
    "bits that weights read": ("greedy_residuals", put("bits", torch.neg), "are not the hash of the signature"),
    "a message of his own": ("greedy_residuals", at("message", value="his"), "is not the public key's of the message"),
    "a message of 1000 letters": ("greedy_residuals", at("message", value="a" * 1000), "is not one line"),
    "a message that steers a terminal": ("greedy_residuals", at("message", value="\x1b[2J"), "cannot be seen"),
    "a message that is a list": ("greedy_residuals", at("message", value=["mine"]), "message is no str"),
    "half a surrogate pair that is signed": ("greedy_residuals", at("message", value="\ud800"), "cannot be seen"),
    "a public key of his own": ("greedy_residuals", put("public_key", lambda k: k.flip(0)), "is not the public key's"),
    "a public key of zeros": ("greedy_residuals", put("public_key", torch.zeros_like), "is not the public key's"),
    "a public key too short": ("greedy_residuals", put("public_key", lambda k: k[1:]), "public_key of shape (31,)"),
    "a signature of floats": ("greedy_residuals", put("signature", own_dtype(torch.float32)), "is not made of bytes"),
    "a signature of zeros": ("greedy_residuals", put("signature", torch.zeros_like), "is not the public key's"),
    "rows without weights": ("greedy_residuals", at("columns", value=0), "is no number from 1 on"),
    "rows of which nothing is left": ("greedy_residuals", at("dropped", value=1.0), "is no fraction from 0 to below 1"),
    "less than nothing left out": ("greedy_residuals", at("dropped", value=-0.5), "is no fraction from 0"),
    "passports of zeros": ("adapters", put("passports", torch.zeros_like), "is not made of -1 and +1"),
    "passports of ones": ("adapters", put("passports", torch.ones_like), "are all equal"),
    "a singular passport": ("adapters", put("passports", lambda p: p.index_fill(2, torch.tensor(1), 1)
                            .index_fill(2, torch.tensor(2), 1)), "hold a singular matrix"),
    "passports of floats": ("adapters", put("passports", own_dtype(torch.float32)), "is not made of -1 and +1"),
    "a passport alone": ("adapters", put("passports", lambda p: p[:1]), "passports of shape (1, 3, 4, 4)"),
    "passports of hours": ("adapters", put("passports", lambda p: p.new_ones(2, p.shape[1], 1200, 1200)),
                           "has more than 4194304"),
    "passports that are no squares": ("adapters", put("passports", lambda p: p[..., 1:, :]), "passports of shape"),
    "passports for fewer layers": ("adapters", put("passports", lambda p: p[:, 1:]), "passports of shape"),
    "a second passport that is the first": ("adapters", put("passports", lambda p: p[:1].repeat(2, 1, 1, 1)),
                                            "has 48 of 48 signs of the first"),
    "adapters of another rank": ("adapters", put("up", lambda b: b[:, 1:]), "up of shape"),
    "adapters for fewer channels": ("adapters", put("up", lambda b: b[1:]), "are for another network"),
    "adapters for fewer weights": ("adapters", put("down", lambda a: a[:, 1:]), "are for another network"),
    "NaN in adapters": ("adapters", put("up", lambda b: b * float("nan")), "'up' holds numbers that are not finite"),
    "infinity in adapters": ("adapters", put("down", infinite), "are not finite"),
    "adapters of whole numbers": ("adapters", put("down", own_dtype(torch.int64)), "is not made of finite numbers"),
    "adapters that overflow": ("adapters", tensors(lambda t: t.update(up=t["up"] + 1e30, down=t["down"] + 1e30)),
                               "what it presents to conv3: is not finite"),
    "adapters of a layer that is none": ("adapters", at("places", value="conv3,conv4,relu"), "'relu'"),
    "adapters of nothing": ("adapters", at("places", value=",,"), "names a layer twice"),
    "a layer that is adapted twice": ("adapters", at("places", value="conv3,conv4,conv4"), "names a layer twice"),
    "places in a list": ("adapters", at("places", value=["conv3"]), "places is no str"),
    "a scale of nothing": ("adapters", at("scale", value=0.0), "is no number above 0"),
    "a scale that is a text": ("adapters", at("scale", value="30"), "scale is no float"),
    # where it was drawn from
    "an origin that is a text": ("bound", at("origin", value="drawn"), "origin is no mapping"),
    "no images": ("bound", facts(lambda v: v.pop("images") and None), "schema_version is not what it should be"),
    "images of nothing": ("bound", at("images", value=None), "'images', which belongs to no such claim"),
    "images that are a list": ("bound", at("images", value=[]), "missing or wrong"),
    "images with more": ("bound", at("images", "more", value=1), "images is not what it should be"),
    "images with less": ("text", facts(lambda v: v["images"].pop("classes") and None), "missing or wrong"),
    "images of one class": ("bound", at("images", "classes", value=["0"]), "1 classes, not 2 to 100000"),
    "images of other classes": ("bound", at("images", "classes", value=["a", "b"]), "num_classes 2, and its network"),
    "two classes of one name": ("bound", at("images", "classes", value=["a"] * 10), "two classes of one name"),
    "a class without end": ("bound", at("images", "classes", value=["a" * 201, "b"]), "at most 200 characters"),
    "a class that is a number": ("bound", at("images", "classes", value=[1, 2]), "at most 200 characters"),
    "a class that is a list": ("bound", at("images", "classes", value=[["a"], ["b"]]), "at most 200 characters"),
    "classes without end": ("bound", at("images", "classes", value=["a"] * 100_001), "not 2 to 100000"),
    "names without end": ("bound", at("images", "classes", value=[f"{i:0100d}" for i in range(6000)]), "too long"),
    "images in colours": ("bound", at("images", "preprocessing", "channels", value="RGB"), "preprocessing.mean"),
    "pictures of another size": ("bound", at("images", "preprocessing", "resize", value=12), "image_size 12"),
    "images that grow": ("bound", at("images", "preprocessing", "resize", value=10**9), "from 1 to 4096"),
    "a deviation of nearly 0": ("bound", at("images", "preprocessing", "std", value=[1e-9]), "from 0.001 to 1"),
    "a mean that is a text": ("bound", at("images", "preprocessing", "mean", value="0.5"), "from 0 to 1"),
    "no mean": ("bound", at("images", "preprocessing", "mean", value=None), "without its std"),
    "a step to run": ("bound", at("images", "preprocessing", "lambda", value="os.system"), "is no mapping of"),
    "test images below 0": ("bound", at("images", "test_images", value=-1), "no number of test images"),
    "another fingerprint": ("bound", at("images", "fingerprint", value="f" * 63), "no SHA-256"),
    "no origin": ("bound", facts(lambda v: v.pop("origin") and v.pop("images") and None),
                  "schema_version is not what it should be"),
    "an origin of nothing": ("bound", at("origin", value=None), "'origin', which belongs to no such claim"),
    "an origin with more": ("bound", at("origin", "more", value=1), "origin is not what it should be"),
    "an origin with less": ("bound", facts(lambda v: v["origin"].pop("keyless") and None), "missing or wrong"),
    "seeds in a list": ("text", at("origin", "seeds", value=[1, 2]), "does not name up to 8 seeds"),
    "seeds without end": ("text", at("origin", "seeds", value=dict.fromkeys(map(str, range(9)), 1)), "up to 8 seeds"),
    "a seed below 0": ("text", at("origin", "seeds", "signature", value=-1), "no whole number of 63 bits"),
    "a seed of 64 bits": ("text", at("origin", "seeds", "signature", value=2**63), "no whole number of 63 bits"),
    "a seed that is true": ("text", at("origin", "seeds", "signature", value=True), "no whole number of 63 bits"),
    "a seed that is a float": ("text", at("origin", "seeds", "signature", value=1.0), "no whole number of 63 bits"),
    "a key that is a number": ("text", at("origin", "keyless", value=0), "whether there was a key"),
    "images that are a number": ("text", at("origin", "data", value=5), "does not name the images"),
    "images below 0": ("text", at("origin", "train_images", value=-1), "does not name the images"),
    # what says nothing, or one thing many times
    "a passport of zeros": ("text", put(PASSPORT, torch.zeros_like), "P_gamma of conv4: has a mean patch of 0"),
    "half a passport": ("text", put(PASSPORT, half_of(1)), "P_beta of conv4: has a mean patch of 0"),
    "the other half": ("text", put(PASSPORT, half_of(0)), "P_gamma of conv4: has a mean patch of 0"),
    "a passport below floats": ("text", put(PASSPORT, lambda p: p * 1e-42), "has a mean patch of 0"),
    "a passport beyond floats": ("text", put(PASSPORT, lambda p: p.double() * 1e60), "scales of conv4: are not finite"),
    "a passport beyond doubles": ("text", put(PASSPORT, lambda p: p.double() * 1e300), "has a mean patch of 0"),
    "a signature of ones": ("text", tensors(lambda t: t.update({n: torch.ones_like(b) for n, b in t.items()
                             if n.startswith("signature/")})), "are all equal"),
    "a watermark of ones": ("uchida", put("bits", torch.ones_like), "are all equal"),
    "a row of zeros": ("uchida", put("projection", row(lambda x: x[1] * 0)), "has a row of 0"),
    "a row below floats": ("uchida", put("projection", row(lambda x: x[1] * 1e-42)), "has a row of 0"),
    "rows that are equal": ("uchida", put("projection", row(lambda x: x[1])), "equal up to sign"),
    "rows that are opposite": ("uchida", put("projection", row(lambda x: -3 * x[1])), "equal up to sign"),
    "rows that are all but equal": ("uchida", put("projection", row(lambda x: x[1] + 0.01 * x[2])), "equal up to sign"),
    "equal rows beyond floats": ("uchida", put("projection", row(lambda x: x[1] * 1e37)), "equal up to sign"),
    "rows of one sign": ("deepsigns", put("projection", row(lambda x: -x[1].abs())), "has a row of one sign"),
    "equal rows of activations": ("deepsigns", put("projection", row(lambda x: x[1])), "equal up to sign"),
    "equal rows of a fingerprint": ("deepmarks", put("projection", row(lambda x: x[1])), "equal up to sign"),
    "more rows than can be compared": ("uchida", tensors(lambda t: t.update(bits=t["bits"].repeat(200),
                                        projection=torch.randn(12800, 2))), "has more than 8192"),
    "a basis of one vector": ("deepmarks", put("basis", lambda b: b[:, :1].repeat(1, len(b))), "is not orthonormal"),
    "a basis of zeros": ("deepmarks", put("basis", torch.zeros_like), "is not orthonormal"),
    "a class that counts twice": ("deepsigns", put("chosen", lambda c: c[:1].repeat(4)), "names a class twice"),
    "an image that stands for two": ("deepsigns", put("pixels", lambda p: p[:1].repeat(16, 1, 1, 1)), "two classes"),
    "labels of one class": ("trigger_set", tensors(lambda t: t.update(labels=torch.full((24,), 3),
                             pixels=t["pixels"].repeat(4, 1, 1, 1))), "are all of one class"),
    "labels of one class in V3": ("bound", tensors(lambda t: t.update({"trigger_set/labels": torch.full((24,), 3),
                  "trigger_set/pixels": t["trigger_set/pixels"].repeat(4, 1, 1, 1)})), "are all of one class"),
    "a pair of one image": ("dataset_inference", put("pixels", lambda p: p[:1].repeat(12, 1, 1, 1)), "an image twice"),
    "a pair that is there twice": ("dataset_inference", put("pixels", lambda p: p[:4].repeat(3, 1, 1, 1)),
                                   "an image twice"),
    "half a pair": ("dataset_inference", put("pixels", lambda p: p[:-1]), "not one label for each image"),
    "pairs that are floats": ("dataset_inference", put("pixels", own_dtype(torch.float32)), "are not bytes"),
    "pairs of another size": ("dataset_inference", put("pixels", lambda p: p[:, :4, :4]), "has images of shape"),
    "a label for each image": ("dataset_inference", put("labels", lambda y: y.repeat(2)), "not one label for each"),
    "labels beyond the classes": ("dataset_inference", put("labels", lambda y: y + 10), "labels beyond its 10 classes"),
    "labels that are halves": ("dataset_inference", put("labels", lambda y: y / 2), "with whole numbers as"),
    "bits of his own": ("dataset_inference", put("bits", lambda _: torch.ones(6, dtype=torch.int8)), "belongs to no"),
    "no salt": ("dataset_inference", at("salt", value=""), "claim=salt: is not 64 hexadecimal"),
    "a salt that is a number": ("dataset_inference", at("salt", value=5), "salt is no str"),
    "a salt in capitals": ("dataset_inference", at("salt", value="A" * 64), "is not 64 hexadecimal digits"),
    "a class without images": ("deepsigns", put("chosen", lambda c: (c + 1) % 10), "has no key image"),
}  # fmt: skip
