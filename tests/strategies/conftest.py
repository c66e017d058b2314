import pytest
import toy_driver


@pytest.fixture
def toy():
    return toy_driver.toy


@pytest.fixture
def play():
    return toy_driver.play
