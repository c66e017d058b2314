"""Names of models: one's own, those that come with archscout, and files."""

import pytest

from archscout.core import models
from archscout.core.errors import UnknownName, UserError


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHSCOUT_MODELS", str(tmp_path / "own"))
    monkeypatch.setattr(models, "SHIPPED", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "ours.safetensors").write_text("")
    return tmp_path


def test_own_models_and_ours(folders):
    place = models.model_place("mine")
    assert place == folders / "own" / "mine.safetensors"
    place.write_text("")
    assert list(models.models()) == ["mine", "ours"]
    assert models.model_file("mine") == place and not models.is_shipped(place)
    assert models.is_shipped(models.model_file("ours"))
    assert models.model_file(str(place)) == place


def test_bad_names(folders):
    with pytest.raises(UnknownName, match="there is no model 'our'; did you mean 'ours'"):
        models.model_file("our")
    with pytest.raises(UserError, match=r"there is no model 'some\.safetensors'"):
        models.model_file("some.safetensors")
    with pytest.raises(UserError, match="'ours' is the name of a model that comes with archscout"):
        models.model_place("ours")
    with pytest.raises(UserError, match="letters, digits"):
        models.model_place("a/b")
