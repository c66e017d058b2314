"""What not to believe: honest sentences that follow from the facts of a run."""

from __future__ import annotations

from archscout.report.facts import ReportFacts
from archscout.report.metric import METRICS
from archscout.report.words import count, duration, percent

SMALL_VALIDATION = 1000
SMALL_CLASS = 30


def caveats(facts: ReportFacts) -> list[tuple[str, str]]:
    """(heading, sentence) pairs, the run's own notes last."""
    found = [*_about_test(facts), *_about_choice(facts), *_about_data(facts), *_about_machine(facts)]
    return found + [("Noted during the run", note) for note in facts.notes]


def _about_test(facts: ReportFacts) -> list[tuple[str, str]]:
    answer, metric = facts.answer, METRICS[facts.metric]
    items = metric.data
    if answer is None or answer.valid_value is None:
        return [("No network was trained", f"This run ranked architectures without training them; a rank is no {metric.name}.")]
    if answer.test_value is None:
        return [
            (f"There is no test {metric.name}", f"No test {items} were kept or no training ended, so nothing here is unbiased.")
        ]
    found = [
        (
            "The interval covers sampling only",
            f"It says how far the {metric.name} could move with other test {items} of the same kind ({answer.test_count:,} "
            f"{metric.items} were used). It knows nothing of {metric.elsewhere}.",
        )
    ]
    if facts.comparison is None or not facts.comparison.verified:
        found.append(
            (f"The test {items} were opened once", "They chose nothing: one network was tested, after everything was decided.")
        )
    else:
        found.append(
            (
                f"The test {items} were opened once per compared network",
                "With --verify every compared network is tested. The choice was made before, on validation; to pick another "
                "network by these test values would make its value too good.",
            )
        )
    return found


def _about_choice(facts: ReportFacts) -> list[tuple[str, str]]:
    found = []
    answer, comparison, metric = facts.answer, facts.comparison, METRICS[facts.metric]
    if answer is not None and answer.valid_value is not None:
        more = ""
        if answer.test_value is not None:
            more = f" Here: {metric.shown(answer.valid_value)} on validation, {metric.shown(answer.test_value)} on test."
        found.append(
            (
                f"The winner's validation {metric.name} is optimistic",
                f"The winner was chosen by its {metric.name} on these very {metric.items}, so part of it is luck. "
                f"Trust the test {metric.name} instead.{more}",
            )
        )
    small = metric.item == "image" and comparison is not None
    if small and comparison is not None and 0 < comparison.count < SMALL_VALIDATION and comparison.split == "validation":
        found.append(
            (
                "The validation set is small",
                f"With {comparison.count:,} images one standard error is up to {percent(0.5 / comparison.count**0.5)}; networks "
                "that are closer than that cannot be told apart, and the best of many is partly the luckiest.",
            )
        )
    if comparison is not None and not comparison.verified:
        found.append(
            (
                "The comparison used short trainings",
                f"Networks were compared after {comparison.cost}. The order can change with longer training; "
                "--verify trains them all in full.",
            )
        )
    roles = [contestant.role for contestant in comparison.contestants] if comparison is not None else []
    searched = roles.count("searched")
    if searched > max(1, len(roles) - searched):
        found.append(
            (
                "The search had more tries",
                f"{searched} searched networks stood against {len(roles) - searched} others, and the best "
                "of each side is compared; the larger side is favoured a little.",
            )
        )
    if facts.seeds == 1:
        usual = "differences of a few tenths of a point" if metric.share else "small differences"
        found.append(
            (
                "One seed",
                f"Another seed gives another search and another training; {usual} are often that.",
            )
        )
    return found


def _about_data(facts: ReportFacts) -> list[tuple[str, str]]:
    if not METRICS[facts.metric].share:
        return _about_text(facts)
    if METRICS[facts.metric].item == "episode":
        return _about_episodes()
    found = []
    small = sorted(
        {
            label
            for split, counts in facts.data.counts.items()
            if split in ("train", "test")
            for label, number in counts.items()
            if number < SMALL_CLASS
        }
    )
    if small:
        shown = ", ".join(small[:8]) + (f" and {len(small) - 8} more" if len(small) > 8 else "")
        found.append(
            (
                "Some classes are tiny",
                f"Fewer than {SMALL_CLASS} training or test images: {shown}. Their per-class accuracies mean little.",
            )
        )
    train = facts.data.counts.get("train", {})
    if train and max(train.values()) > 3 * max(1, min(train.values())):
        often, seldom = max(train, key=lambda k: train[k]), min(train, key=lambda k: train[k])
        found.append(
            (
                "The classes are unequal",
                f"'{often}' has {train[often]:,} training images, '{seldom}' {train[seldom]:,}. Overall accuracy is ruled "
                "by the large classes; look at the accuracies class by class.",
            )
        )
    if facts.data.skipped:
        number = count(len(facts.data.skipped), "file was", "files were")
        found.append(("Not every file was used", f"{number} skipped; the list stands under Data."))
    return found


def _about_episodes() -> list[tuple[str, str]]:
    """What a few-shot accuracy depends on besides the network."""
    return [
        (
            "Episodes are of classes alike",
            "Training, validation and test classes are disjoint, but come from one collection; images from elsewhere are harder.",
        )
    ]


def _about_text(facts: ReportFacts) -> list[tuple[str, str]]:
    """What a perplexity depends on besides the network."""
    counts = facts.data.counts.get("test") or facts.data.counts.get("valid", {})
    unknown, total = counts.get("unknown", 0), max(1, sum(counts.values()))
    found = [
        (
            "A perplexity belongs to its vocabulary",
            f"{percent(unknown / total, 2)} of the tokens are unknown and count as one and the same. With another vocabulary the "
            "same network would have another perplexity; published ones are of other vocabularies and of hours of training.",
        )
    ]
    if facts.comparison is not None:
        found.append(
            (
                "Equal cost is counted in multiplications",
                "PyTorch's LSTM and GRU layers do theirs faster than the searched cells, which are computed node by node; where "
                "time decides, the full trainings of --verify are the ones to compare.",
            )
        )
    return found


def _about_machine(facts: ReportFacts) -> list[tuple[str, str]]:
    found = []
    answer = facts.answer
    if answer is not None and answer.epochs > 0 and not facts.budget.strip().isdigit():
        found.append(
            (
                "Training was limited by time",
                f"The final training had {duration(answer.train_seconds)} ({count(answer.epochs, 'epoch')}). With more time "
                "most networks get better, and not all by the same amount.",
            )
        )
    if answer is not None and answer.latency_ms is not None:
        found.append(
            (
                "Latency is of this machine",
                f"It was timed here, for one {METRICS[facts.metric].input} at a time; on a phone or a GPU "
                "even the order may differ.",
            )
        )
    failed = sum(trial.failure is not None for trial in facts.trials)
    if facts.trials and failed > len(facts.trials) / 10:
        found.append(
            ("Many candidates failed", f"{failed:,} of {len(facts.trials):,}; what they would have been worth is unknown.")
        )
    return found
