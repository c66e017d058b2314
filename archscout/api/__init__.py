"""What users call: the Python side of every command.

result = search("./images", budget="10m", limits={"params": 500_000})
result.best, result.pareto, result.model()
"""

from archscout.api.judging import score, score_all
from archscout.api.networks import adapt, load, load_own_space, predict, sample
from archscout.api.opening import open_request
from archscout.api.searching import Result, resume, resume_run, run, search
from archscout.api.tasks import add_task, task_distances
from archscout.api.training import create_model, train_one
from archscout.engine.request import Request

__all__ = [
    "Request", "Result", "adapt", "add_task", "create_model", "load", "load_own_space", "open_request", "predict", "resume",
    "resume_run", "run", "sample", "score", "score_all", "search", "task_distances", "train_one",
]  # fmt: skip
