"""What not to believe: honest sentences that follow from the facts of a run."""

from __future__ import annotations

from archscout.report.facts import ReportFacts
from archscout.report.words import count, duration, percent

SMALL_VALIDATION = 1000
SMALL_CLASS = 30


def caveats(facts: ReportFacts) -> list[tuple[str, str]]:
    """(heading, sentence) pairs, the run's own notes last."""
    found = [*_about_test(facts), *_about_choice(facts), *_about_data(facts), *_about_machine(facts)]
    return found + [("Noted during the run", note) for note in facts.notes]


def _about_test(facts: ReportFacts) -> list[tuple[str, str]]:
    answer = facts.answer
    if answer is None or answer.valid_value is None:
        return [("No network was trained", "This run ranked architectures without training them; a rank is not an accuracy.")]
    if answer.test_value is None:
        return [
            ("There is no test accuracy", "No test images were kept or no training ended, so nothing here is an unbiased measure.")
        ]
    found = [
        (
            "The interval covers sampling only",
            f"It says how far the accuracy could move with other test images of the same kind ({answer.test_count:,} were used). "
            "It knows nothing of other seeds, other cameras, or data that differ from these.",
        )
    ]
    if facts.comparison is None or not facts.comparison.verified:
        found.append(
            ("The test images were opened once", "They chose nothing: one network was tested, after everything was decided.")
        )
    else:
        found.append(
            (
                "The test images were opened once per compared network",
                "With --verify every compared network is tested. The choice was made before, on validation; to pick another "
                "network by these test values would make its value too good.",
            )
        )
    return found


def _about_choice(facts: ReportFacts) -> list[tuple[str, str]]:
    found = []
    answer, comparison = facts.answer, facts.comparison
    if answer is not None and answer.valid_value is not None:
        more = ""
        if answer.test_value is not None:
            more = f" Here: {percent(answer.valid_value)} on validation, {percent(answer.test_value)} on test."
        found.append(
            (
                "The winner's validation accuracy is optimistic",
                "The winner was chosen by its accuracy on these very images, so part of it is luck. "
                f"Trust the test accuracy instead.{more}",
            )
        )
    if comparison is not None and 0 < comparison.count < SMALL_VALIDATION and comparison.split == "validation":
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
        found.append(
            (
                "One seed",
                "Another seed gives another search and another training; differences of a few tenths of a point are often that.",
            )
        )
    return found


def _about_data(facts: ReportFacts) -> list[tuple[str, str]]:
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
                "It was timed here, for one image at a time; on a phone or a GPU even the order may differ.",
            )
        )
    failed = sum(trial.failure is not None for trial in facts.trials)
    if facts.trials and failed > len(facts.trials) / 10:
        found.append(
            ("Many candidates failed", f"{failed:,} of {len(facts.trials):,}; what they would have been worth is unknown.")
        )
    return found
