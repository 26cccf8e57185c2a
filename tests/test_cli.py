"""The command line: files in, files out, one line for an error."""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from sklearn.model_selection import LeaveOneGroupOut

import fastsl
from fastsl import SearchLight, make_phantom, picture, results
from fastsl.cli import main

RADIUS = 15.0
COMMANDS = ("run", "merge", "slurm", "info", "warmup", "phantom")
RESULTS = {"scores.nii.gz", "n_voxels.nii.gz", "result.json"}


@pytest.fixture
def run(saved_phantom, tmp_path):
    """``fastsl run`` on the phantom into a new folder, with options added or replaced (None leaves one out)."""

    def call(*flags, **changes):
        options = {
            "imgs": saved_phantom / "bold.nii",
            "mask": saved_phantom / "mask.nii.gz",
            "labels": saved_phantom / "labels.tsv",
            "target": "condition",
            "radius": RADIUS,
            "out": tmp_path / "out",
            **changes,
        }
        argv = ["run"]
        for name, value in options.items():
            if value is not None:
                values = value if isinstance(value, list) else [value]
                argv += [f"--{name.replace('_', '-')}", *map(str, values)]
        return main([*argv, *flags])

    call.out = tmp_path / "out"
    return call


def _scores(folder):
    return nib.load(folder / "scores.nii.gz").get_fdata()


def _result(folder):
    return json.loads((folder / "result.json").read_text())


def _expected(phantom, y=None, groups=None, imgs=None, **arguments):
    searchlight = SearchLight(phantom.mask_img, radius=RADIUS, **arguments)
    return searchlight.fit(imgs or phantom.img, phantom.labels["condition"] if y is None else y, groups).scores_


@pytest.fixture
def no_decoding(monkeypatch):
    for name in ("run_search", "decode_blocks"):
        monkeypatch.setattr(f"fastsl.searchlight.{name}", lambda *_: pytest.fail("spheres were decoded"))


# ------------------------------------------------------------------------------------------------------------------ run


def test_run_writes_maps_and_a_record(run, phantom, saved_phantom, capsys):
    assert run("--standardize", groups="run") == 0
    assert {path.name for path in run.out.iterdir()} == RESULTS
    searchlight = SearchLight(phantom.mask_img, radius=RADIUS, cv=LeaveOneGroupOut(), standardize=True)
    searchlight.fit(phantom.img, phantom.labels["condition"], phantom.labels["run"])
    np.testing.assert_array_equal(_scores(run.out), searchlight.scores_)
    sizes = nib.load(run.out / "n_voxels.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(sizes.dataobj)[searchlight.process_mask_], searchlight.n_voxels_)
    np.testing.assert_allclose(sizes.affine, phantom.mask_img.affine, rtol=1e-6)

    result = _result(run.out)
    assert result["command"]["radius"] == RADIUS
    assert result["command"]["estimator"] == "svc"
    assert result["command"]["standardize"] is True
    assert result["command"]["groups"] == "run"
    assert result["versions"]["fastsl"] == fastsl.__version__
    assert result["versions"]["numpy"] == np.__version__
    assert result["engine"]["path"] == "compiled"
    assert result["seconds"] > 0
    assert result["n_volumes"] == 40
    assert result["targets"] == {"face": 20, "house": 20}
    assert result["groups"] == ["1", "2", "3", "4"]
    assert result["n_folds"] == 4
    assert result["n_spheres"] == searchlight.n_elements_ == 1912
    assert result["classes"] == ["face", "house"]
    assert result["sphere_sizes"] == [searchlight.n_voxels_.min(), searchlight.n_voxels_.max()]
    assert list(result["scores"]) == ["score"]
    assert result["scores"]["score"]["n_nan"] == 0
    assert result["scores"]["score"]["mean"] == pytest.approx(searchlight.masked_scores_.mean())
    assert result["scores"]["score"]["max"] == searchlight.masked_scores_.max()
    assert result["scores"]["score"]["mean_of_each_fold"] == pytest.approx(searchlight.fold_scores_.mean(axis=1))
    files = {saved_phantom / name for name in ("bold.nii", "mask.nii.gz", "labels.tsv")}
    assert result["inputs_sha256"] == {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    said = capsys.readouterr()
    assert "[SearchLight.fit] 1912 spheres of 15 mm, 40 volumes" in said.out
    assert f"best {searchlight.masked_scores_.max():.3f} at (" in said.out
    assert said.out.splitlines()[-1] == f"Written to {run.out}: scores.nii.gz, n_voxels.nii.gz, result.json"
    assert said.err == ""


#: name: (flags, options, what SearchLight gets, whether it gets groups)
ANALYSES = {
    "five folds without groups": ([], {}, {}, False),
    "three folds": ([], {"cv": 3}, {"cv": 3}, False),
    "three folds beside groups": ([], {"cv": 3, "groups": "run"}, {"cv": 3}, False),
    "runs by default": ([], {"groups": "run"}, {"cv": LeaveOneGroupOut()}, True),
    "runs": ([], {"groups": "run", "cv": "logo"}, {"cv": LeaveOneGroupOut()}, True),
    "ridge": ([], {"estimator": "ridge_classifier"}, {"estimator": "ridge_classifier"}, False),
    "scoring": ([], {"scoring": "f1_macro"}, {"scoring": "f1_macro"}, False),
    "threads": ([], {"n_jobs": 1}, {}, False),
    "standardized": (
        ["--standardize"],
        {"groups": "run"},
        {"cv": LeaveOneGroupOut(), "standardize": True},
        True,
    ),
}


@pytest.mark.filterwarnings("ignore:groups are given but cv=")
@pytest.mark.parametrize("case", ANALYSES)
def test_options_mean_what_they_mean_in_python(case, run, phantom):
    flags, options, arguments, grouped = ANALYSES[case]
    assert run("--quiet", *flags, **options) == 0
    groups = phantom.labels["run"] if grouped else None
    np.testing.assert_array_equal(_scores(run.out), _expected(phantom, groups=groups, **arguments))


def test_a_regressor_takes_numbers(run, phantom, few_centres, tmp_path):
    numbers = np.random.default_rng(0).standard_normal(40).round(6)
    (tmp_path / "labels.csv").write_text("\n".join(["rating", *map(str, numbers)]))
    nib.save(few_centres, tmp_path / "centres.nii")
    options = {"labels": tmp_path / "labels.csv", "target": "rating", "estimator": "ridge"}
    assert run("--quiet", **options, process_mask=tmp_path / "centres.nii") == 0
    expected = _expected(phantom, numbers, estimator="ridge", process_mask_img=few_centres)
    np.testing.assert_array_equal(_scores(run.out), expected)
    assert str(tmp_path / "centres.nii") in _result(run.out)["inputs_sha256"]


def test_small_spheres_are_counted_in_one_line(run, phantom, few_centres, tmp_path, capsys):
    assert run("--quiet", min_voxels=19) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "fastsl run: warning:" in captured.err
    assert "fewer than min_voxels=19" in captured.err
    sizes = np.asanyarray(nib.load(run.out / "n_voxels.nii.gz").dataobj)[phantom.mask_img.get_fdata() > 0]
    assert _result(run.out)["scores"]["score"]["n_nan"] == (sizes < 19).sum() > 0


def test_several_scores_have_a_map_each(run, phantom):
    assert run("--scoring", "accuracy", "roc_auc", "--picture", groups="run") == 0
    for name in ("accuracy", "roc_auc"):
        searchlight = SearchLight(phantom.mask_img, radius=RADIUS, cv=LeaveOneGroupOut(), scoring=name, n_jobs=1).fit(
            phantom.img, phantom.labels["condition"], phantom.labels["run"]
        )
        found = np.asanyarray(nib.load(run.out / f"scores_{name}.nii.gz").dataobj)
        np.testing.assert_array_equal(found, searchlight.scores_)
        assert _result(run.out)["scores"][name]["max"] == searchlight.masked_scores_.max()
    assert not (run.out / "scores.nii.gz").exists()
    assert (run.out / "scores.png").exists()


def test_predictions_and_confusion_are_written(run, phantom):
    assert run("--keep-predictions", "--keep-confusion", groups="run") == 0
    table = np.genfromtxt(run.out / "predictions.tsv", delimiter="\t", dtype=str)
    assert table[0].tolist() == ["volume_kept", "fold", "condition"]
    np.testing.assert_array_equal(table[1:, 0].astype(int), np.arange(40))
    np.testing.assert_array_equal(table[1:, 2], phantom.labels["condition"])
    predicted = np.load(run.out / "predictions.npy")
    labels = np.array(_result(run.out)["classes"])[predicted]
    scores = np.asanyarray(nib.load(run.out / "scores.nii.gz").dataobj)[phantom.mask_img.get_fdata() > 0]
    np.testing.assert_allclose((labels == table[1:, 2:]).mean(axis=0), scores, rtol=0, atol=1e-12)
    assert np.load(run.out / "decisions.npy").shape == predicted.shape
    counts = np.load(run.out / "confusion.npy")
    np.testing.assert_allclose(np.trace(counts, axis1=1, axis2=2) / 40, scores, rtol=0, atol=1e-12)


def test_one_split_trains_here_and_tests_there(run, phantom, tmp_path):
    part = np.where(phantom.labels["run"] < 3, "train", np.where(phantom.labels["run"] == 3, "test", "neither"))
    rows = [f"{name}\t{where}" for name, where in zip(phantom.labels["condition"], part, strict=True)]
    labels = tmp_path / "split.tsv"
    labels.write_text("\n".join(["condition\tpart", *rows]) + "\n")
    assert run("--split", "part", labels=labels) == 0
    split = [(np.flatnonzero(part == "train"), np.flatnonzero(part == "test"))]
    expected = SearchLight(phantom.mask_img, radius=RADIUS, cv=split, n_jobs=1)
    expected.fit(phantom.img, phantom.labels["condition"])
    np.testing.assert_array_equal(_scores(run.out), expected.scores_)
    assert _result(run.out)["n_folds"] == 1


def test_several_images_are_joined_in_the_order_given(run, phantom, saved_phantom, tmp_path):
    files = []
    for n, part in enumerate((slice(0, 10), slice(10, 30), slice(30, 40))):
        files.append(tmp_path / f"part-{2 - n}.nii.gz")  # names in the other order
        nib.save(phantom.img.slicer[..., part], files[-1])
    assert run("--quiet", imgs=files) == 0
    np.testing.assert_array_equal(_scores(run.out), _expected(phantom))
    assert {str(path) for path in files} < _result(run.out)["inputs_sha256"].keys()


def test_keep_leaves_out_other_volumes(run, phantom, tmp_path):
    condition = phantom.labels["condition"].astype("<U10")
    condition[::5] = "rest"
    rows = [f"{name},{number}" for name, number in zip(condition, phantom.labels["run"], strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(["condition,run", *rows]))
    labels = tmp_path / "labels.csv"
    assert run("--quiet", "--standardize", labels=labels, keep="face, house", groups="run") == 0
    keep = condition != "rest"
    expected = _expected(
        phantom,
        condition[keep],
        phantom.labels["run"][keep],
        imgs=nib.Nifti1Image(np.asanyarray(phantom.img.dataobj)[..., keep], phantom.img.affine),
        cv=LeaveOneGroupOut(),
        standardize=True,
    )
    np.testing.assert_array_equal(_scores(run.out), expected)
    assert _result(run.out)["n_volumes"] == keep.sum()
    assert "rest" not in _result(run.out)["targets"]


def test_keep_may_leave_out_whole_chunks_of_the_images(run, phantom, tmp_path, monkeypatch):
    monkeypatch.setattr("fastsl.images._CHUNK_BYTES", 1)
    names = np.array(["rest"] * 20 + ["face", "house"] * 10)
    (tmp_path / "labels.csv").write_text("\n".join(["condition", *names]))
    assert run("--quiet", labels=tmp_path / "labels.csv", keep="face,house") == 0
    expected = _expected(phantom, names[20:], imgs=phantom.img.slicer[..., 20:])
    np.testing.assert_array_equal(_scores(run.out), expected)


@pytest.mark.parametrize("delimiter", ["\t", ","], ids=["tsv", "csv"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_tables_of_every_kind(delimiter, bom, end, run, phantom, tmp_path, no_decoding, monkeypatch):
    path = tmp_path / "labels.txt"
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator=end)
        table.writerow(["condition", "a, quoted name", "Läufe"])
        for name, number in zip(phantom.labels["condition"], phantom.labels["run"], strict=True):
            table.writerow([f"{name}, left", 'said "x",\nthen left', number])
    path.write_bytes(bom + path.read_bytes())
    seen = []
    monkeypatch.setattr(
        SearchLight, "fit", lambda self, imgs, y, groups, shard: seen.extend([y, groups]) or pytest.fail("end")
    )
    with pytest.raises(pytest.fail.Exception, match="end"):
        run(labels=path, groups="Läufe")
    assert seen[0].tolist() == [f"{name}, left" for name in phantom.labels["condition"]]
    assert seen[1].tolist() == [str(number) for number in phantom.labels["run"]]


def test_quiet_says_nothing(run, capsys):
    assert run("--quiet") == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_results_are_replaced_only_when_asked(run, capsys):
    assert run("--quiet") == 0
    before = (run.out / "result.json").read_bytes()
    (run.out / "notes.txt").write_text("mine")
    assert run("--quiet", cv=3) == 1
    assert "already has scores.nii.gz, n_voxels.nii.gz, result.json; choose another folder, or --overwrite" in (
        capsys.readouterr().err
    )
    assert (run.out / "result.json").read_bytes() == before
    assert run("--quiet", "--overwrite", cv=3) == 0
    assert _result(run.out)["n_folds"] == 3
    assert {path.name for path in run.out.iterdir()} == {*RESULTS, "notes.txt"}


def test_picture(run):
    pytest.importorskip("matplotlib")
    assert run("--quiet", "--picture") == 0
    assert {path.name for path in run.out.iterdir()} == {*RESULTS, "scores.png"}
    drawn = (run.out / "scores.png").read_bytes()
    assert drawn.startswith(b"\x89PNG\r\n")
    assert len(drawn) > 10_000


@pytest.mark.parametrize("n_slices", [1, 2, 12])
@pytest.mark.parametrize("chance", [None, 0.5, 0.1])
def test_all_words_of_a_picture_are_in_it(n_slices, chance, tmp_path, monkeypatch):
    figures = []

    class Remembered(pytest.importorskip("matplotlib.figure").Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            figures.append(self)

    monkeypatch.setattr(picture, "require_matplotlib", lambda: Remembered)
    values = np.linspace(0.3, 0.9, 12 * 14 * 12).reshape(12, 14, 12)
    inside = np.zeros(values.shape, bool)
    inside[..., :n_slices] = True
    title = "a_long_name_of_a_condition: LinearSVC(max_iter=10000, random_state=0), 8 mm"
    words = {"title": title, "label": "balanced_accuracy", "chance": chance}
    picture.draw_map(values, inside, tmp_path / "map.png", affine=np.diag([3.0, 3, 3, 1]), **words)
    (figure,) = figures
    figure.draw_without_rendering()  # at its own resolution, not that of the file
    (heading,), bar = figure.texts, figure.axes[-1]
    assert heading.get_text().split() == title.split()
    for text in (heading, bar.yaxis.label):
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert ("chance" in bar.get_ylabel()) == (chance == 0.5)  # 0.1 is no colour of the bar


@pytest.mark.parametrize(
    ("scoring", "classes", "counts", "expected"),
    [
        (None, ["a", "b"], {"a": 6, "b": 6}, 0.5),
        (["accuracy"], ["a", "b", "c", "d"], {"a": 6, "b": 6, "c": 6, "d": 6}, 0.25),
        (None, ["a", "b"], {"a": 6, "b": 7}, None),
        (["balanced_accuracy"], ["a", "b"], {"a": 6, "b": 7}, 0.5),
        (["roc_auc", "accuracy"], ["a", "b"], {"a": 6, "b": 7}, 0.5),
        (["f1"], [0, 1], {"0": 6, "1": 6}, None),
        (None, None, {"0.5": 6, "1.5": 6}, None),
    ],
)
def test_chance_is_known_of_some_scores(scoring, classes, counts, expected):
    assert results._chance(scoring, classes, counts) == expected


def test_a_picture_without_matplotlib_is_refused_before_any_work(run, monkeypatch, capsys, no_decoding):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run("--picture") == 1
    assert capsys.readouterr().err == (
        "fastsl run: pictures need matplotlib: install fastsl with its extra 'plot' "
        "(pip install 'fastsl-searchlight[plot]').\n"
    )
    assert not run.out.exists()


# -------------------------------------------------------------------------------------------------------------- refused


def _write(folder, text):
    (folder / "bad.tsv").write_text(text)
    return folder / "bad.tsv"


def _truncated(folder, saved):
    content = (saved / "bold.nii").read_bytes()
    (folder / "bad.nii").write_bytes(content[: len(content) // 2])
    return folder / "bad.nii"


ROWS = "\n".join(["face", "house"] * 20)
#: name: (flags, options made of the new folder and the phantom's, what stderr says)
BAD_RUNS = {
    "no such image": ([], lambda d, s: {"imgs": d / "gone.nii"}, "imgs: there is no file {d}/gone.nii."),
    "truncated image": ([], lambda d, s: {"imgs": _truncated(d, s)}, "bad.nii cannot be read from volume"),
    "no image": ([], lambda d, s: {"imgs": s / "labels.tsv"}, "labels.tsv is not an image"),
    "one volume": ([], lambda d, s: {"imgs": s / "mask.nii.gz"}, "has 40 rows but --imgs have 1 volumes"),
    "no such mask": ([], lambda d, s: {"mask": d / "gone.nii"}, "mask_img: there is no file {d}/gone.nii."),
    "no mask": ([], lambda d, s: {"mask": None}, "--mask is missing: give the mask of the voxels"),
    "mask of three values": ([], lambda d, s: {"mask": s / "signal.nii.gz"}, "Given mask is not made of 2 values"),
    "no such labels": ([], lambda d, s: {"labels": d / "gone.tsv"}, "--labels: there is no file {d}/gone.tsv."),
    "labels without rows": ([], lambda d, s: {"labels": _write(d, "condition\n")}, "has no rows below its header"),
    "empty labels": ([], lambda d, s: {"labels": _write(d, "")}, "has no rows below its header"),
    "ragged labels": ([], lambda d, s: {"labels": _write(d, "a\tb\n1\t2\n3\n")}, "row 3 of {d}/bad.tsv has 1 fields"),
    "labels of other data": (
        [],
        lambda d, s: {"labels": _write(d, "condition\nface\nhouse\n")},
        "bad.tsv has 2 rows but --imgs have 40 volumes",
    ),
    "labels that are an image": (
        [],
        lambda d, s: {"labels": s / "mask.nii.gz"},
        "--labels: {s}/mask.nii.gz cannot be read",
    ),
    "labels that are a folder": ([], lambda d, s: {"labels": s}, "--labels: {s} cannot be read"),
    "no such target": ([], lambda d, s: {"target": "colour"}, "--target: {s}/labels.tsv has no column 'colour'"),
    "no such groups": ([], lambda d, s: {"groups": "session"}, "--groups: {s}/labels.tsv has no column 'session'"),
    "no such class": (
        [],
        lambda d, s: {"keep": "face,cat"},
        "--keep: 'cat' not in column 'condition', which has: face",
    ),
    "one class": ([], lambda d, s: {"keep": "face"}, "y holds one class only ('face')"),
    "runs by runs": (
        [],
        lambda d, s: {"target": "run", "groups": "run"},
        "no fold tests a class that it trained on (fold 0 trains on",
    ),
    "cv": ([], lambda d, s: {"cv": "loso"}, "--cv must be 'logo' or a number of folds, got 'loso'"),
    "one fold": ([], lambda d, s: {"cv": 1}, "cv=1 is no cross-validation"),
    "logo without groups": ([], lambda d, s: {"cv": "logo"}, "name the column of groups with --groups"),
    "runs without groups": (["--standardize"], lambda d, s: {}, "--standardize works within runs: name"),
    "estimator": ([], lambda d, s: {"estimator": "svm"}, "estimator='svm' is not known"),
    "scoring": ([], lambda d, s: {"scoring": "acc"}, "scoring='acc' is not known (did you mean 'accuracy', "),
    "scoring of regressors": (
        [],
        lambda d, s: {"scoring": "r2"},
        "is for regressors but the estimator is a classifier",
    ),
    "names for a regressor": ([], lambda d, s: {"estimator": "svr"}, "--target condition must hold numbers"),
    "negative radius": ([], lambda d, s: {"radius": "-2"}, "radius must be finite and not negative"),
    "radius": ([], lambda d, s: {"radius": "nan"}, "radius must be finite and not negative"),
    "threads": ([], lambda d, s: {"n_jobs": 0}, "n_jobs=0 has no meaning"),
    "shard": ([], lambda d, s: {"shard": "3"}, "shard must be I/N, such as 1/8 for the first of eight, got '3'"),
    "no such shard": ([], lambda d, s: {"shard": "4/3"}, "shard 4/3 does not exist"),
    "min_voxels": ([], lambda d, s: {"min_voxels": 0}, "min_voxels must be a whole number of at least 1"),
    "folder below a file": (
        [],
        lambda d, s: {"out": s / "labels.tsv" / "x"},
        "--out: cannot write to {s}/labels.tsv/x",
    ),
    "folder that is a file": ([], lambda d, s: {"out": s / "labels.tsv"}, "--out: cannot write to {s}/labels.tsv"),
}


@pytest.mark.parametrize("case", BAD_RUNS)
def test_a_mistake_is_one_line_and_status_1(case, run, saved_phantom, tmp_path, capsys, no_decoding):
    flags, options, message = BAD_RUNS[case]
    assert run(*flags, "--quiet", **options(tmp_path, saved_phantom)) == 1
    said = capsys.readouterr()
    assert message.format(d=tmp_path, s=saved_phantom) in said.err
    assert said.err.startswith("fastsl run: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not run.out.exists()


def test_a_mistake_leaves_a_folder_that_was_there(run, no_decoding, capsys):
    run.out.mkdir()
    assert run(radius=-2) == 1
    assert run.out.exists()
    assert "radius must be finite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: COMMAND"),
        (["decode"], "invalid choice: 'decode'"),
        (["run"], "required: --imgs, --labels, --target, --out"),
        (["run", "--imgs"], "--imgs"),
        (["run", "--radius", "eight"], "--radius: invalid float value: 'eight'"),
        (["run", "--n-jobs", "2.5"], "--n-jobs: invalid int value: '2.5'"),
        (
            ["run", "--imgs", "a", "--labels", "b", "--target", "c", "--out", "d", "--fast"],
            "unrecognized arguments: --fast",
        ),
        (["phantom"], "required: DIR"),
        (["merge"], "required: DIR"),
        (["slurm"], "required: ACTION"),
        (["slurm", "status"], "required: DIR"),
        (["slurm", "run"], "required: --imgs, --labels, --target, --out, --shards, --cpus-per-task, --mem, --time"),
        (["phantom", "x", "--voxel-size", "big"], "--voxel-size: invalid float value: 'big'"),
    ],
)
def test_a_command_line_that_cannot_be_parsed_is_status_2(argv, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("usage: fastsl")


def test_a_defect_keeps_its_traceback(run, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("fastsl.searchlight.decode_blocks", broken)
    with pytest.raises(ZeroDivisionError):
        run("--quiet")


def test_ctrl_c_is_status_130(run, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastsl.searchlight.decode_blocks", interrupted)
    assert run("--quiet") == 130
    assert capsys.readouterr().err == "fastsl run: interrupted; nothing was written.\n"
    assert not run.out.exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_stops_a_real_search(tmp_path):
    data = make_phantom(voxel_size=4, n_runs=4).save(tmp_path)
    # As ``fastsl`` itself, but for the seconds until blocks are on disk: files tell that spheres are being decoded.
    program = "import sys; from fastsl import cli; from fastsl.checkpoints import recorder; "
    program += "recorder.SECONDS_A_FILE = 0.0; sys.exit(cli.main())"
    command = [sys.executable, "-c", program, "run", "--imgs", str(data / "bold.nii")]
    command += ["--mask", str(data / "mask.nii.gz"), "--labels", str(data / "labels.tsv"), "--target", "condition"]
    command += ["--radius", "20", "--cv", "20", "--n-jobs", "1", "--out", str(tmp_path / "out")]
    # A process that is started by one that ignores SIGINT would ignore it as well.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, previous)
    began = time.monotonic()
    try:
        while len(list((tmp_path / "out").glob("checkpoint/**/centres-*.npz"))) < 2:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() - began < 300
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert re.fullmatch(
        r"fastsl run: interrupted; [1-9]\d* of \d+ spheres are saved in \S+/out/checkpoint; give the same command "
        r"again to go on from there.\n",
        err,
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint"]


# ------------------------------------------------------------------------------------------------------- other commands


def test_info(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert fastsl.__version__ in text
    assert np.__version__ in text
    assert "n_jobs=-1 uses " in text
    assert "Compile cache: " in text


def test_info_for_programs(capsys, monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["fastsl"] == fastsl.__version__
    assert facts["n_jobs_all"] == 1
    assert facts["limits"]["SLURM_CPUS_PER_TASK"] == 1
    assert facts["machine_cpus"] == os.cpu_count()


def test_phantom(tmp_path, capsys):
    assert main(["phantom", str(tmp_path / "data"), "--voxel-size", "14", "--seed", "5"]) == 0
    phantom = make_phantom(14, seed=5)
    np.testing.assert_array_equal(nib.load(tmp_path / "data" / "bold.nii").get_fdata(), phantom.img.get_fdata())
    n_voxels = int(phantom.mask_img.get_fdata().sum())
    assert f"bold.nii (120 volumes), mask.nii.gz ({n_voxels} voxels)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["{d}/x", "--voxel-size", "0"], "fastsl phantom: voxel_size must be positive"),
        (["{d}/file/x", "--voxel-size", "20"], "fastsl phantom: "),
    ],
)
def test_phantom_mistakes_are_one_line(argv, message, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["phantom", *(text.format(d=tmp_path) for text in argv)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(message)
    assert said.count("\n") == 1


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"fastsl {fastsl.__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [["--help"], *([name, "--help"] for name in COMMANDS), ["slurm", "run", "--help"], ["slurm", "status", "--help"]],
)
def test_help(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: fastsl")
    assert "example" in text or argv != ["run", "--help"]


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "fastsl", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"fastsl {fastsl.__version__}\n")


def test_help_does_not_wait_for_the_compiler():
    code = "import sys, fastsl.cli\ntry: fastsl.cli.main(['--help'])\nfinally: assert 'numba' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_fold_that_cannot_be_scored_leaves_what_is_known(run, phantom, saved_phantom, few_centres, tmp_path, capsys):
    condition = phantom.labels["condition"].copy()
    run_of = np.where(condition == "face", 1, 2)  # leaving either run out leaves one class to train on
    run_of[:2], run_of[-2:] = 3, 3
    rows = [f"{name}\t{number}" for name, number in zip(condition, run_of, strict=True)]
    labels = tmp_path / "runs.tsv"
    labels.write_text("\n".join(["condition\trun", *rows]) + "\n")
    assert run("--picture", labels=labels, groups="run", cv="logo") == 0
    captured = capsys.readouterr()
    assert "no sphere has a score in every fold" in captured.out
    assert "folds could not be scored" in captured.err
    folds = _result(run.out)["scores"]["score"]["mean_of_each_fold"]
    assert len(folds) == 3
    assert None in folds
    assert _result(run.out)["scores"]["score"]["mean"] is None
    assert not (run.out / "scores.png").exists()


def test_info_explains_a_run_before_anyone_waits(capsys):
    size = ["--volumes", "30", "--voxels", "7", "--spheres", "100", "--cv", "3", "--n-jobs", "1"]
    assert main(["info", "--estimator", "ridge_classifier", "--scoring", "accuracy", "roc_auc", *size]) == 0
    said = capsys.readouterr().out
    assert "path: compiled (RidgeClassifierCV is compiled)" in said
    assert "100 spheres of 7 voxels, 30 volumes, 3 folds, n_jobs=1" in said
    assert main(["info", "--json", "--estimator", "ridge_classifier", *size]) == 0
    facts = json.loads(capsys.readouterr().out)["explanation"]
    assert facts["seconds"] == pytest.approx(100 * facts["seconds_per_sphere"])
    assert main(["info", "--estimator", "rigde"]) == 1
    assert "estimator='rigde' is not known" in capsys.readouterr().err
