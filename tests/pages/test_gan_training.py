"""The page of a GAN's training: words for what the guards did, no trace of an empty log."""

from synthcohort.pages.gan_training import render_gan_training

LOOK = {
    "event": "look", "images_seen": 500, "distance": 1.5, "floor": 0.2, "diversity": 0.9, "of_classes": None,
    "coverage": 0.8, "coverage_floor": 0.9, "overfitting": 0.1, "drawn": 32, "copies": 1, "against": "validation",
    "control": {"images": 100, "above": 2, "upper": 0.07}, "warnings": ["one <warning>"],
}  # fmt: skip
PROGRESS = {
    "event": "progress", "images_seen": 400, "images_per_second": 20.0, "signs": 0.5, "augment": 0.1,
    "discriminator_loss": 0.6, "generator_loss": 0.8, "learning_rate": 1e-3, "gamma": 2.0,
}  # fmt: skip


def test_an_empty_log_gives_a_page() -> None:
    page = render_gan_training("run", {"steps": 10}, [], None, 16)
    assert "0 of 160 images seen" in page
    assert "Not searched yet" in page
    assert 'http-equiv="refresh"' in page


def test_curves_warnings_and_rollbacks_are_shown() -> None:
    back = {"event": "rollback", "text": "collapse: made up; back to 100 images"}
    page = render_gan_training("run", {"steps": 100}, [PROGRESS, LOOK, back], None, 16)
    assert "500 of 1,600 images seen" in page
    assert "55 s left" in page
    assert "one &lt;warning&gt;" in page
    assert "back to 100 images" in page
    assert "1 of 32 images drawn" in page


def test_an_early_end_is_said_and_does_not_reload() -> None:
    stop = {"event": "stop", "reason": "copies, made up"}
    page = render_gan_training("run", {"steps": 100, "done": True}, [PROGRESS, LOOK, stop], None, 16)
    assert "Training ended early" in page
    assert "copies, made up" in page
    assert 'http-equiv="refresh"' not in page
