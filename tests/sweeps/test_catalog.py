import re
from dataclasses import replace
from typing import Any, get_args

import jsonschema
import pytest

from abel.schedules import Abel, Constant, DecayAt
from sweeps import catalog
from sweeps.errors import Faults, SpecError
from sweeps.forecast.plan import forecast, wall_seconds
from sweeps.spec.sections import Claim, Figure
from sweeps.spec.sweep import json_schema, load_spec, parse_document, parse_spec
from sweeps.spec.yaml import load_yaml
from workers.config import to_dict
from workers.data.augment import Augment
from workers.glue.albert import Albert
from workers.glue.benchmark import GLUE_NAMES
from workers.tasks.classify import Classify


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def document(text: str) -> Any:
    return load_yaml(text, "spec.yaml", Faults())


DECAY_TIME = ["fig-s6a", "fig-s6a-cifar10", "fig-s6a-digits"]
EQUATION = ["norm-equation", "norm-equation-digits"]


MINIS = [
    "fig-1",
    "fig-2",
    "fig-3",
    "fig-s10",
    "fig-s11",
    "fig-s12",
    "fig-s13",
    "fig-s2",
    "fig-s3",
    "fig-s4",
    "fig-s7",
    "small-rate",
    "table-1",
    "table-2-nlp",
    "table-2-rl",
    "table-2-vision",
    "table-s2",
]
AT_PAPER_SIZE = [
    "fig-1",
    "fig-2",
    "fig-s1",
    "fig-s10",
    "fig-s3",
    "fig-s4",
    "fig-s4-cifar100",
    "fig-s5",
    "fig-s7",
    "small-rate",
    "table-s2",
]
TABLES = ["table-1-cifar10", "table-1-cifar100", "table-1-svhn", "table-2-vision-cifar10", "table-2-vision-cifar100"]
IN_GAMES = {
    "fig-s12": "seaquest",
    "table-2-rl-pong": "pong",
    "table-2-rl-qbert": "qbert",
    "table-2-rl-seaquest": "seaquest",
}
ON_IMAGENET = {
    "fig-1-imagenet": ["bounce", "milestone"],
    "fig-3": ["decay_factor", "rate"],
    "fig-s10-imagenet": ["bounce", "no_l2", "l2_gap"],
    "fig-s13": ["rate"],
    "fig-s2": ["layers"],
    "fig-s3-imagenet": ["no_plateau"],
    "table-1-imagenet": ["tuned"],
    "table-2-vision-imagenet": ["l2_gap"],
}
ON_WMT = {"fig-s11": ["linear", "no_bounce", "abel_simple"], "table-2-nlp": ["linear"]}
SENTENCE_MINIS = ["albert-mini", "table-s1-mini", "table-s1-pretrained-mini"]
ON_GLUE = dict.fromkeys(
    ["table-s1", "table-s1-mini", "table-s1-pretrained-mini"], ["linear", "no_bounce", "abel_simple"]
)


def test_names() -> None:
    grids = ["fig-3-cifar10", "fig-3-vgg5", "fig-s1-cifar10", "fig-s1-vgg5", "fig-s5-cifar10"]
    others = [
        *DECAY_TIME,
        "albert-mini",
        "gate-digits",
        *EQUATION,
        *AT_PAPER_SIZE,
        *TABLES,
        *ON_IMAGENET,
        *ON_WMT,
        *IN_GAMES,
        *ON_GLUE,
    ]
    assert catalog.names() == sorted([*grids, *others, *(f"{name}-mini" for name in MINIS)])


@pytest.mark.parametrize("name", ON_IMAGENET)
def test_the_settings_on_imagenet(name: str) -> None:
    for trial in load_spec(name).expand():
        program, schedule = trial.program, trial.schedule
        assert (program.model.kind, program.label_smoothing, program.l2_on) == ("resnet50", 0.1, "kernels")
        assert (program.batch_size, schedule.warmup_epochs, program.l2 in (0.0, 0.0001)) == (2048, 5, True)
        assert (
            schedule.learning_rate in ((0.8, 16.0) if program.optimizer.kind == "sgd" else (0.0008,)) or name == "fig-3"
        )
        assert trial.epochs == (120 if getattr(schedule, "decay_factor", 0.1) == 0.5 else 90)
        if schedule.kind == "step":
            assert schedule.decay_epochs == ((30, 60) if trial.epochs == 90 else (40, 80))


@pytest.mark.parametrize(("name", "game"), IN_GAMES.items())
def test_the_settings_in_games(name: str, game: str) -> None:
    for trial in load_spec(name).expand():
        program, schedule = trial.program, trial.schedule
        assert (program.data.game, program.model.width, program.optimizer.kind, program.l2) == (game, 32, "adam", 0.0)
        assert (program.agents, program.actor_steps, program.passes, program.batch_size) == (8, 128, 3, 256)
        assert (program.discount, program.gae_lambda, program.surrogate_clip) == (0.99, 0.95, 0.1)
        assert (program.value_weight, program.entropy_weight, program.clip) == (0.5, 0.01, None)
        assert trial.epochs * program.task.loops * 1024 == pytest.approx(40e6, rel=0.001)
        assert schedule.learning_rate == 0.00025
        if schedule.kind != "linear":
            assert (schedule.decay_factor, schedule.last_decay_epoch) == (0.1, 0.9 * trial.epochs)


@pytest.mark.parametrize("name", ON_WMT)
def test_the_settings_on_wmt(name: str) -> None:
    """100,000 steps, 10,000 of them a warm-up, at the peak of Flax's default, and simple decay at 90 % of training."""
    for trial in load_spec(name).expand():
        program, schedule = trial.program, trial.schedule
        assert (program.task.segment_steps * trial.epochs, program.batch_size) == (100_000, 256 * 256)
        assert (schedule.learning_rate, schedule.warmup_epochs, program.l2) == (1.98e-3, 10, 0.0)
        assert getattr(schedule, "last_decay_epoch", 90) == 90 and getattr(schedule, "decay_factor", 0.1) == 0.1
        assert (program.optimizer.b2, program.optimizer.eps, program.label_smoothing) == (0.98, 1e-9, 0.1)
        assert (program.model.layers, program.model.width, program.data.subset) == (6, 512, None)
        assert trial.epochs % program.task.bleu_every == 0


def test_figure_3_varies_rate_and_factor_one_at_a_time() -> None:
    trials = [trial for trial in load_spec("fig-3").expand() if trial.seed == 0]
    points = {
        (trial.schedule.learning_rate, trial.schedule.decay_factor) for trial in trials if trial.arm[:4] == "abel"
    }
    assert {0.8, 16.0, 40.0} < {rate for rate, factor in points if factor == 0.1}
    assert {factor for rate, factor in points if rate == 0.8} == {0.1, 0.2, 0.3, 0.5}
    assert all(rate == 0.8 or factor == 0.1 for rate, factor in points)


@pytest.mark.parametrize("name", [*(f"{name}-mini" for name in MINIS), *SENTENCE_MINIS])
def test_a_mini_fits_in_a_quarter_of_an_hour_on_two_cores(name: str) -> None:
    spec = load_spec(name)
    assert wall_seconds(forecast(spec.expand()), spec.epoch_seconds, workers=2).high <= 15 * 60


@pytest.mark.parametrize("name", [*AT_PAPER_SIZE, *TABLES])
def test_at_paper_size_the_settings_are_the_paper_s(name: str) -> None:
    for trial in load_spec(name).expand():
        program = trial.program
        assert (program.clip, program.optimizer.nesterov, program.optimizer.momentum) == (5.0, True, 0.9)
        assert program.l2 in (0.0, 0.0005) and program.data.subset is None
        images_a_core = {"wide_resnet": 16, "pyramid_net": 32}.get(program.model.kind)  # VGG has no batch norm
        assert getattr(program.model, "norm_examples", None) == images_a_core
        if program.model.kind == "wide_resnet":
            svhn = program.data.name == "svhn_cropped"
            assert (program.model.depth, program.model.width) == ((16, 8) if svhn else (28, 10))
            small = name == "small-rate" and trial.schedule.learning_rate == 0.02
            short = name == "fig-s4" and trial.arm.endswith("-short")
            assert (trial.epochs, program.batch_size) == (160 if svhn else 1000 if small else 15 if short else 200, 128)


def test_on_glue_the_settings_are_the_paper_s() -> None:
    spec = load_spec("table-s1")
    trials = spec.expand()
    assert {trial.program.data.name for trial in trials} == set(GLUE_NAMES)
    assert {trial.schedule.kind for trial in trials} == {"linear", "simple", "abel"}
    assert {trial.schedule.learning_rate for trial in trials} == {1e-5, 2e-5, 5e-5, 1e-6}
    for trial in trials:
        program, steps = trial.program, trial.program.task.segment_examples // trial.program.batch_size
        assert (program.batch_size, program.optimizer.kind, program.l2) == (16, "adam", 0.0)
        assert (program.model, program.data.vocabulary) == (Albert(), "albert_base_v2/spiece.model")
        assert (steps * trial.epochs, steps * trial.schedule.warmup_epochs) == (10_000, 1000)
        assert trial.schedule.kind == "linear" or trial.schedule.last_decay_epoch == 0.8 * trial.epochs
        assert trial.schedule.kind == "linear" or trial.schedule.decay_factor == 0.1
    reported = {
        kind: [arm.reported for name, arm in spec.arms.items() if name.endswith(kind)] for kind in ("linear", "simple")
    }
    means = [100 - sum(errors) / 8 for errors in reported.values()]
    assert means == pytest.approx([83.1, 82.9], abs=0.07)  # those of the paper, to its rounding


def test_on_glue_the_mini_is_from_scratch() -> None:
    spec = load_spec("table-s1-mini")
    assert "from scratch" in spec.title
    assert {trial.program.weights for trial in spec.expand()} == {None}


def test_on_glue_the_pretrained_mini_differs_from_the_other_by_its_weights() -> None:
    scratch, pretrained = (
        [to_dict(trial.program) for trial in load_spec(name).expand()] for name in ON_GLUE if "mini" in name
    )
    (before,) = {trial.program for trial in load_spec("albert-mini").expand()}
    for one, other in zip(scratch, pretrained, strict=True):
        assert other["model"] == to_dict(before)["model"]
        assert (other.pop("weights"), other["data"].pop("vocabulary")) == (
            "albert-mini/model.safetensors",
            "albert-mini/spiece.model",
        )
        assert (one.pop("weights"), one["data"].pop("vocabulary")) == (None, None)
        assert one == other


def test_an_unknown_name() -> None:
    with pytest.raises(KeyError):
        catalog.entry("template")


def test_the_names_that_are_known_are_whole_in_the_fault_of_an_unknown_one() -> None:
    with pytest.raises(SpecError) as refused:
        load_spec("fig-9")
    (*named, rest) = str(refused.value).partition("known: ")[2].rstrip(")").split(", ")
    assert named == catalog.names()[: len(named)] and len(named) > 10
    assert rest == f"… {len(catalog.names()) - len(named)} more"


@pytest.mark.parametrize("name", catalog.names())
def test_an_entry_tells_its_claim_and_its_cost(name: str) -> None:
    spec = load_spec(name)
    assert spec.name == name
    assert "Paper," in spec.claim
    assert spec.title and spec.notes


@pytest.mark.parametrize("name", catalog.names())
def test_the_cost_of_an_entry_is_its_forecast(name: str) -> None:
    spec = load_spec(name)
    cost = forecast(spec.expand())
    most, naive = re.search(r"([\d,]+) distinct epochs.* at most \(([\d,]+) without sharing\)", spec.cost).groups()
    assert int(most.replace(",", "")) == cost.shared_epochs.high
    assert int(naive.replace(",", "")) == cost.naive_epochs


@pytest.mark.parametrize(
    ("name", "minutes"),
    [
        ("fig-s6a-digits", 4),
        ("norm-equation-digits", 4),
        ("gate-digits", 4),
        ("fig-s6a-cifar10", 90),
        ("fig-s1-cifar10", 90),
        ("fig-s5-cifar10", 90),
        ("fig-3-cifar10", 90),
        ("norm-equation", 90),
    ],
)
def test_an_entry_fits_its_time_on_two_cores(name: str, minutes: int) -> None:
    spec = load_spec(name)
    assert wall_seconds(forecast(spec.expand()), spec.epoch_seconds, workers=2).high <= 60 * minutes


@pytest.mark.parametrize("name", DECAY_TIME)
def test_a_decay_time_entry_has_one_arm_of_each_kind(name: str) -> None:
    spec = load_spec(name)
    assert spec.figure == "decay_time" and "figure S6a" in spec.claim
    kinds = {trial.arm: type(trial.schedule) for trial in spec.expand()}
    assert kinds == {"constant": Constant, "abel": Abel, "decay-at": DecayAt}
    assert len({trial.schedule.learning_rate for trial in spec.expand()}) == 1
    assert {getattr(trial.schedule, "decay_factor", 0.1) for trial in spec.expand()} == {0.1}


def settings(name: str) -> tuple[Any, dict[str, Any], list[Any], Any]:
    spec = load_spec(name)
    (program,) = {trial.program for trial in spec.expand()}
    epochs = sorted({trial.schedule.decay_epoch for trial in spec.expand() if trial.arm == "decay-at"})
    (last,) = {trial.schedule.last_decay_epoch for trial in spec.expand() if trial.arm == "abel"}
    return spec, to_dict(program), epochs, last


def test_the_paper_s_setting() -> None:
    spec, program, epochs, last = settings("fig-s6a")
    assert epochs == [2, *range(5, 76, 5)]
    assert (spec.epochs, last, spec.seeds) == (80, 68, [0, 1, 2])
    assert spec.expand()[0].schedule.learning_rate == 0.25
    assert program["model"] == {
        "kind": "vgg5",
        "width": 64,
        "pools": [True, True, True, True],
        "init": "lecun_normal",
    }
    assert (program["data"]["name"], program["data"]["subset"]) == ("cifar100", None)
    assert (program["l2"], program["batch_size"], program["clip"]) == (0.005, 128, None)
    assert program["optimizer"]["momentum"] == 0


def test_the_setting_on_cifar10() -> None:
    spec, program, epochs, last = settings("fig-s6a-cifar10")
    assert epochs == [2, 5, 10, 20, 30, 40, 50]
    assert (spec.epochs, last) == (60, 51)
    assert (program["data"]["subset"], program["data"]["test_subset"]) == (5000, 2000)
    assert (program["l2"], program["batch_size"], program["model"]["width"]) == (0.005, 32, 16)
    assert (program["augment"]["flip"], program["augment"]["crop"]) == (True, 4)


def test_the_setting_on_digit_pairs() -> None:
    spec, program, epochs, last = settings("fig-s6a-digits")
    assert epochs == [1, 4, 10, 20, 30]
    assert (spec.epochs, last) == (40, 34)
    assert program["model"] == {
        "kind": "vgg5",
        "width": 16,
        "pools": [False, True, True, True],
        "init": "he_normal",
    }
    assert (program["l2"], program["batch_size"]) == (0.01, 16)
    assert program["augment"] == {"flip": False, "crop": 0, "roll": 1, "noise": 0.2}


@pytest.mark.parametrize(("name", "like"), [("norm-equation", "cifar10"), ("norm-equation-digits", "digits")])
def test_the_equation_s_setting_is_that_of_the_decay_times(name: str, like: str) -> None:
    spec, other = load_spec(name), load_spec(f"fig-s6a-{like}")
    assert spec.figure == "norm_equation"
    assert (spec.epochs, spec.seeds) == (other.epochs, other.seeds)
    cells = {(trial.arm, trial.program.l2): trial for trial in spec.expand()}
    given = other.expand()[0].program
    assert cells.keys() == {(arm, l2) for arm in ("constant", "abel") for l2 in (given.l2, 0.0)}
    for trial in cells.values():
        assert trial.program == replace(given, l2=trial.program.l2, task=Classify(dynamics=True))
        assert trial.schedule.learning_rate == 0.1


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("fig-s5-cifar10", [("constant", "constant-small"), ("abel", "abel-small")]),
        ("small-rate", [("simple", "small"), ("simple-no-l2", "small-no-l2")]),
        ("small-rate-mini", [("simple", "small"), ("simple-no-l2", "small-no-l2")]),
    ],
)
def test_the_small_rate_is_a_fifth_and_trains_five_times_as_long(name: str, pairs: list[tuple[str, str]]) -> None:
    trials = {trial.arm: trial for trial in load_spec(name).expand()}
    assert set(trials) == {arm for pair in pairs for arm in pair}
    for large, small in ((trials[one], trials[other]) for one, other in pairs):
        assert small.schedule.learning_rate == pytest.approx(large.schedule.learning_rate / 5)
        assert small.epochs == 5 * large.epochs
        assert small.program == large.program


@pytest.mark.parametrize("name", ["fig-3-vgg5", "fig-3-cifar10"])
def test_schedules_are_compared_over_one_grid_of_rates_and_factors(name: str) -> None:
    spec, points = load_spec(name), {}
    assert spec.figure == "rate_by_factor"
    for trial in spec.expand():
        factor = getattr(trial.schedule, "decay_factor", None)
        points.setdefault(trial.arm, set()).add((trial.schedule.learning_rate, factor, trial.seed))
    assert points["abel"] == points["step"] == points["simple"]
    assert points["cosine"] == {(rate, None, seed) for rate, _, seed in points["abel"]}


@pytest.mark.parametrize("name", ["fig-s1", "fig-s1-vgg5", "fig-s1-cifar10"])
def test_the_last_decay_is_varied_around_85_percent(name: str) -> None:
    spec = load_spec(name)
    epochs = {trial.schedule.last_decay_epoch for trial in spec.expand()}
    assert spec.figure == "last_decay_epoch"
    assert min(epochs) < 0.85 * spec.epochs < max(epochs)
    assert 0.85 * spec.epochs in epochs


def test_entries_name_the_claims_that_they_test() -> None:
    tested = {name: load_spec(name).claims for name in catalog.names()}
    assert {name: claims.tested for name, claims in tested.items() if claims} == {
        "fig-1": ["bounce", "milestone"],
        "fig-2": ["bounce", "again", "curves", "tuned"],
        "fig-s10": ["no_l2", "l2_gap"],
        "fig-s3": ["plateau"],
        "fig-s4": ["easy", "short_run"],
        "fig-s4-cifar100": ["easy"],
        **dict.fromkeys(["fig-s5", "fig-s5-cifar10"], ["slow_rate"]),
        "fig-s7": ["scale"],
        "small-rate": ["small_rate"],
        "table-s2": ["cosine"],
        **ON_IMAGENET,
        **dict.fromkeys(IN_GAMES, ["linear", "no_bounce", "abel_simple", "learns"]),
        **ON_WMT,
        **ON_GLUE,
        **dict.fromkeys(TABLES[:3], ["tuned"]),
        **dict.fromkeys(TABLES[3:], ["l2_gap"]),
        **{f"{name}-mini": tested[f"{name}-mini"].tested for name in MINIS},
        "fig-3-vgg5": ["tuned", "cosine", "decay_factor", "rate"],
        "fig-3-cifar10": ["tuned", "cosine", "decay_factor", "rate"],
        "fig-s1": ["last_decay"],
        "fig-s1-vgg5": ["last_decay"],
        "fig-s1-cifar10": ["last_decay"],
        **dict.fromkeys(DECAY_TIME, ["decay_time"]),
    }
    for name in MINIS:
        paper = next((entry for entry in (name, f"{name}-cifar10") if entry in tested), None)
        beyond = {"fig-s4": ["short_run"]}.get(name, [])  # a mini would cost more with a run of another length
        assert paper is None or [*tested[f"{name}-mini"].tested, *beyond] == tested[paper].tested
    assert {tested[name].margin for name in ("fig-3", "fig-s1", "fig-s6a")} == {0.2}


def test_panels_of_one_figure_differ_in_what_the_paper_varies() -> None:
    of_100, of_10 = (load_spec(name) for name in ("fig-s4-cifar100", "fig-s4"))
    assert {trial.program.data.name for trial in of_100.expand()} == {"cifar100"}
    assert of_100.arms.keys() == {arm for arm in of_10.arms if not arm.endswith("-short")}
    assert all(trial.program.augment == Augment() for spec in (of_100, of_10) for trial in spec.expand())
    for name, other in (("fig-s10", "table-2-vision-cifar10"), ("fig-s10-imagenet", "table-2-vision-imagenet")):
        trials, table = (
            {(trial.program, trial.schedule) for trial in load_spec(one).expand()} for one in (name, other)
        )
        assert {schedule.kind for program, schedule in trials & table if program.l2} == {"cosine", "simple"}
        assert {schedule.kind for program, schedule in trials & table if not program.l2} == {"cosine", "simple"}
    assert {trial.program.optimizer.kind for trial in load_spec("fig-s10-imagenet").expand()} == {"adam"}
    (plateau,) = {one.schedule for one in load_spec("fig-s3-imagenet").expand() if one.schedule.kind == "plateau"}
    assert (plateau.patience, plateau.threshold, plateau.decay_factor) == (10, 1e-4, 0.1)


def test_small_figures_s1_and_3_train_the_same_programs() -> None:
    for one, other in (("fig-s1-vgg5", "fig-3-vgg5"), ("fig-s1-cifar10", "fig-3-cifar10")):
        assert load_spec(one).expand()[0].program == load_spec(other).expand()[0].program


def test_the_template_is_a_spec() -> None:
    assert parse_spec(catalog.template()).count() == 18


def test_the_template_says_its_defaults(schema: dict[str, Any]) -> None:
    given = document(catalog.template())
    again = parse_document({key: given[key] for key in ("name", "program", "epochs", "seeds", "arms")})
    spec = parse_spec(catalog.template())
    assert (again.resources, again.limits) == (spec.resources, spec.limits)


def test_the_template_s_examples_of_a_program_and_an_arm_can_be_said() -> None:
    text = re.sub(r"(?m)^  (model|data): {kind: (vgg5|digits).*\n", "", catalog.template())
    fields = "model|data|l2_on|label_smoothing|precision|micro_batches|program|row|reported"
    spec = parse_spec(re.sub(rf"(?m)^( +)# ({fields}):", r"\1\2:", text))
    program = spec.expand()[0].program
    assert (program.model.remat, program.data.stream, program.data.side) == (True, True, 224)
    assert (program.precision, program.micro_batches, program.l2_on, program.label_smoothing) == (
        "bfloat16",
        4,
        "kernels",
        0.1,
    )
    assert {trial.program.l2 for trial in spec.expand() if trial.arm == "abel"} == {0.0}
    assert (spec.arms["abel"].row, spec.arms["abel"].reported) == ("without L2", 3.8)


def test_the_template_names_every_figure_and_claim() -> None:
    assert all(name in catalog.template() for name in (*get_args(Figure), *get_args(Claim)))


def test_what_the_template_comments_out_can_be_said() -> None:
    text = re.sub(
        r"(?m)^( *)# (schedule\.|program\.|last_decay_epoch|([a-z-]+: {sch))",
        r"\1\2",
        catalog.template(),
    )
    spec = parse_spec(text)
    assert {"simple", "step", "cosine", "linear", "wsd", "inverse-sqrt", "one-cycle", "plateau", "grow-batch"} < set(
        spec.arms
    )
    assert spec.count() == 3 * (11 + 4 * 5 * 3)
    drawn = text.replace("# search:", "search:").replace("# halving:", "halving:")
    assert parse_spec(drawn).count() == 3 * (11 + 16)
    by_gain = text.replace("last_decay_epoch: 17 ", "# ").replace("# gain_threshold", "gain_threshold")
    assert parse_spec(by_gain).arms["abel"].schedule["gain_threshold"] == 0.05


@pytest.mark.parametrize("name", [*catalog.names(), "template"])
def test_entries_hold_to_the_schema(schema: dict[str, Any], name: str) -> None:
    text = catalog.template() if name == "template" else catalog.entry(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document(text), schema, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kind: vgg5", "kind: vgg6"),
        ("kind: vgg5, width: 16", "kind: vgg5, widht: 16"),
        ("kind: abel, ", "kind: able, "),
        ("decay_factor: 0.1}", "decay_facotr: 0.1}"),
        ("epochs: 40", "epohcs: 40"),
        ("schedule.decay_epoch: [1, 4, 10, 20, 30]", "decay_epoch: [1]"),
        ("schedule.decay_epoch: [1, 4, 10, 20, 30]", "schedule.decay_epoch: {range: [1, 2]}"),
        ("seeds: [0, 1, 2]", "seeds: []"),
        ("batch_size: 16", "batch_size: '16'"),
        ("roll: 1", "rol: 1"),
    ],
)
def test_the_schema_refuses_slips(schema: dict[str, Any], old: str, new: str) -> None:
    text = catalog.entry("fig-s6a-digits")
    assert old in text
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document(text.replace(old, new)), schema, cls=jsonschema.Draft202012Validator)
