"""The signals of a screening in the report."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
from PIL import Image
from sample_facts import sample

from archscout import catalogue
from archscout.core.problem import LANGUAGE_MODELLING, Task
from archscout.core.signals import signal_task
from archscout.nn.regression import regressed_images
from archscout.nn.signals import targets
from archscout.report.facts import from_json, to_json
from archscout.report.html import render
from archscout.report.signals import signals_of
from archscout.testing.tasks import image_task

TASK = image_task((3, 16, 16))


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))).astype(int)


def test_a_picture_shows_ten_maps_of_one_image_blue_below_nought_and_red_above():
    judge = catalogue.make("estimators", "signal-regression", signals="combo")
    found = signals_of(judge, TASK)
    assert found is not None and len(found.stages) == 3 and found.about == "'combo', batch of 16, no noise"
    assert found.stages[0].about.startswith("stage 1: 1 x sin1d of 0.375 to 0.487 cycles per pixel")
    maps = targets(signal_task("combo"), regressed_images(TASK, signal_task("combo")), 0)
    for stage, target in zip(found.stages, maps, strict=True):
        sheet = pixels(stage.png)
        assert sheet.shape == (8, 10 * 8 + 9, 4)
        values = target[0, 3].numpy()
        shown = sheet[:, 27:35]
        redder = shown[..., 0] - shown[..., 2]
        clear = np.abs(values) > 0.2 * np.abs(target[0, :10].numpy()).max()
        assert (np.sign(redder)[clear] == np.sign(values)[clear]).all() and (shown[..., 3] == 255).all()
        assert not sheet[:, 8, 3].any()  # the gap


def test_other_judges_have_none():
    assert signals_of(catalogue.make("estimators", "macs"), TASK) is None
    text = Task("no data", LANGUAGE_MODELLING, (8,), 100, "no data")
    assert signals_of(catalogue.make("estimators", "signal-regression", signals="nlp"), text) is None


def test_the_page_shows_them_and_the_facts_survive_their_file():
    judge = catalogue.make("estimators", "signal-regression", signals=str(signal_task("nb101")))
    facts = replace(sample(), signals=signals_of(judge, TASK))
    assert from_json(to_json(facts)) == facts
    page = render(facts)
    assert len(re.findall(r'<figure class="signals"><img alt="stage \d: ', page)) == 3
    assert "batch of 16, uniform noise of 0.1" in page and "signals" not in render(sample()).split("</style>")[1]
