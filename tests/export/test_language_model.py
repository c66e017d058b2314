"""The program beside an exported language model says what the network says, without archscout."""

from __future__ import annotations

import gzip
import json
import lzma
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import DataError, UserError
from archscout.core.seeds import generator
from archscout.data._opened import DataRequest, OpenedData, open_data
from archscout.data._text import read_text
from archscout.export import folder, language_model, texts
from archscout.export.folder import export_as, load_model, save_model
from archscout.export.language_model import Model
from archscout.export.texts import measure_of, written_text
from archscout.nn.recipe import new_network

SMALL = {
    "rnn": {"nodes": 5, "size": 9},
    "rnn loose": {"nodes": 5, "size": 9, "ends": "loose"},
    "nlp-rnn": {"embedding": 8, "hidden": 10, "layers": 2},
    "handmade-rnn": {},
}
LINE = "the cat sat on the mat and the dog saw it, too\n"


@pytest.fixture(scope="module", params=["word", "byte"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenedData:
    path = tmp_path_factory.mktemp("texts") / "story.txt"
    path.write_text(LINE * 300)
    return open_data(DataRequest(str(path), vocabulary=request.param, settings=(("window", "7"),)))


def exported(target: Path, data: OpenedData, space: str, seed: int = 0) -> tuple[torch.nn.Module, list[str]]:
    made, notes = catalogue.make("spaces", space.split()[0], **SMALL[space]), []
    architecture = made.architecture((seed % 2, 11)) if space == "handmade-rnn" else sample(made, generator(seed))
    network = new_network(made, architecture, data.task, seed=seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.5 if space == "nlp-rnn" else 4.0)  # far from even chances
    save_model(
        target, network, made, architecture, data.task, data.classes, data.preprocessing, note=notes.append,
        vocabulary=data.vocabulary,
    )  # fmt: skip
    return network.eval(), notes


@pytest.mark.parametrize(
    ("space", "seed"),
    [("rnn", 0), ("rnn", 1), ("rnn loose", 0), ("nlp-rnn", 0), ("nlp-rnn", 3), ("handmade-rnn", 0), ("handmade-rnn", 1)],
)
def test_the_program_agrees_with_the_network(tmp_path: Path, data: OpenedData, space: str, seed: int) -> None:
    network, _ = exported(tmp_path, data, space, seed)
    model = Model(tmp_path)
    short, long = (LINE * 3).encode(), (LINE * 400).encode()
    measure = measure_of(tmp_path)
    measured = [measure("short", short), measure("long", long)]
    for text, row in zip((short, long), measured, strict=True):
        assert model.perplexity(text) == pytest.approx(row["perplexity"], rel=1e-4)
    assert data.vocabulary is not None
    ids = model.encode(short)
    with torch.no_grad():
        chances = network(torch.tensor([ids[:-1]]))[0].double().log_softmax(1)
    direct = math.exp(-float(chances[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].mean()))
    assert measured[0]["perplexity"] == pytest.approx(direct, rel=1e-5)
    assert measured[0]["tokens"] == len(ids)
    for start, temperature in (("", 0.8), (" ", 0.8), ("the cat", 0.8), ("the", 0.0), ("the", 1e-42)):
        assert model.sample(15, start, temperature, 3) == written_text(tmp_path, 15, start, temperature, 3)


def test_the_folder_holds_everything_and_the_program_runs_alone(tmp_path: Path, data: OpenedData) -> None:
    _, notes = exported(tmp_path, data, "rnn")
    [note] = notes
    assert note.startswith("onnx and pt2 were not written: its hidden state is carried from token to token")
    _, info = load_model(tmp_path)
    assert info["vocabulary"]["level"] == info["preprocessing"]["level"] and info["network"]["kind"] == "highway"
    with pytest.raises(UserError, match=r"a language model is not exported as onnx: .*; use language_model\.py"):
        export_as(tmp_path, "onnx")
    assert export_as(tmp_path, "safetensors", tmp_path / "copy.safetensors").is_file()
    text = tmp_path / "new.txt"
    text.write_text(LINE * 2)
    code = (
        "import runpy, sys\n"
        "sys.modules['archscout'] = None\n"  # whoever imports it fails
        f"sys.argv = ['language_model.py', '--text', {str(text)!r}, '--sample', '5', '--seed', '1']\n"
        f"runpy.run_path({str(tmp_path / 'language_model.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    torn = tmp_path / "torn.txt.xz"
    torn.write_bytes(b"no archive")
    refused = subprocess.run(
        [sys.executable, "-c", code.replace(str(text), str(torn))], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert refused.returncode == 2 and refused.stderr.splitlines()[-1].count("cannot be measured: ") == 1
    first = done.stdout.splitlines()[0]
    assert f"{measure_of(tmp_path)('new', text.read_bytes())['perplexity']:.4f}" in first and str(text) in first


@pytest.mark.parametrize(
    ("name", "pack"),
    [("BOOK.TXT.XZ", lzma.compress), ("BOOK.TXT.GZ", gzip.compress), ("book.txt.xz", lzma.compress), ("BOOK.TXT", bytes)],
)
def test_the_program_unpacks_what_archscout_does(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / name).write_bytes(pack(LINE.encode()))
    assert language_model._read(tmp_path / name) == read_text(tmp_path / name) == LINE.encode()


def test_a_text_no_longer_than_a_window_is_read_in_one_piece(
    tmp_path: Path, data: OpenedData, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    exported(tmp_path, data, "rnn")
    text, before = b"a b c", None
    for short in (2000, 3):
        for module in (texts, language_model):
            monkeypatch.setattr(module, "SHORT", short)
        row = measure_of(tmp_path)("text", text)
        assert 3 < row["tokens"] <= 7 and before in (None, row)
        assert Model(tmp_path).perplexity(text) == pytest.approx(row["perplexity"], rel=1e-4)
        before = row


def test_a_network_that_does_not_describe_itself_gets_no_program(
    tmp_path: Path, data: OpenedData, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(folder, "Described", str)
    _, notes = exported(tmp_path, data, "rnn")
    assert not (tmp_path / "language_model.py").exists() and (tmp_path / "vocabulary.json").is_file()
    assert notes[0].startswith("language_model.py was not written: it cannot compute a network without a method `description`")


def test_new_texts_that_cannot_be_measured(tmp_path: Path, data: OpenedData) -> None:
    exported(tmp_path, data, "handmade-rnn")
    with pytest.raises(DataError, match="needs a text of two tokens or more, but 'short' has 0"):
        measure_of(tmp_path)("short", b"")
    with pytest.raises(UserError, match="a sample has 1 token or more and a temperature from 0 on"):
        written_text(tmp_path, 3, temperature=-1.0)
    record = json.loads((tmp_path / "vocabulary.json").read_text())
    assert data.vocabulary is not None
    if data.vocabulary.level == "word":
        with pytest.raises(DataError, match=r"the text 'bad' is not UTF-8 \(byte 0xff at position 2\)"):
            measure_of(tmp_path)("bad", b"a \xff b")
    record["entries"][0] = "closed" if data.vocabulary.level == "word" else "00"
    (tmp_path / "vocabulary.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"is not in the vocabulary, which has no <unk>"):
        measure_of(tmp_path)("new", b"zebras \xc3\xbc zebras")
    with pytest.raises(ValueError, match=r"is not in the vocabulary, which has no <unk>"):
        Model(tmp_path).perplexity(b"zebras \xc3\xbc zebras")
