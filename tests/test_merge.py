"""Merging: shards become what one run would have given, or it is said which are missing and how to get them."""

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

import fastsl
from fastsl import SearchLight
from fastsl.checkpoints import manifest
from fastsl.checkpoints.blocks import find_files
from fastsl.checkpoints.shards import Shard
from fastsl.cli import main
from fastsl.merging import IncompleteError
from fastsl.permutation import nullmaps

RADIUS = 15.0


@pytest.fixture
def run(saved_phantom, monkeypatch):
    """``fastsl run`` on the phantom, in its folder."""
    monkeypatch.chdir(saved_phantom)
    data = ["--imgs", "bold.nii", "--mask", "mask.nii.gz", "--labels", "labels.tsv", "--target", "condition"]

    def call(out, *options):
        radius = [] if "--radius" in options else ["--radius", str(RADIUS)]
        return main(["run", *data, "--groups", "run", *radius, "--out", str(out), "--quiet", *options])

    return call


def result(folder):
    return json.loads((folder / "result.json").read_text())


def array(folder, name):
    path = folder / name
    return np.load(path) if path.suffix == ".npy" else np.asanyarray(nib.load(path).dataobj)


OPTIONS = {
    "plain": ([], ["scores.nii.gz"]),
    "predictions": (
        ["--keep-predictions", "--keep-confusion"],
        ["scores.nii.gz", "predictions.npy", "decisions.npy", "confusion.npy"],
    ),
    "several scores": (
        ["--scoring", "accuracy", "roc_auc", "--standardize", "--keep-confusion"],
        ["scores_accuracy.nii.gz", "scores_roc_auc.nii.gz", "confusion.npy"],
    ),
    "permutations": (
        [
            "--permutations",
            "30",
            "--estimator",
            "ridge_classifier",
            "--tfce",
            "--cluster-threshold",
            "2",
            "--keep-null",
        ],
        [f"{name}.nii.gz" for name in ("scores", "p_unc", "p_fwe", "z", "tfce", "p_tfce", "clusters")]
        + ["null_max.npy", "null.npy"],
    ),
    "permutations one by one": (
        ["--permutations", "3", "--estimator", "gnb", "--scoring", "accuracy", "roc_auc"],
        ["p_fwe_accuracy.nii.gz", "z_roc_auc.nii.gz", "null_max_roc_auc.npy"],
    ),
}


@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_shards_in_any_order_become_one_run_bit_for_bit(run, tmp_path, capsys, case, n):
    options, names = OPTIONS[case]
    one, many = tmp_path / "one", tmp_path / "many"
    assert run(one, *options) == 0
    for i in np.random.default_rng(n).permutation(n) + 1:
        assert run(many, *options, "--shard", f"{i}/{n}") == 0
    assert {path.name for path in many.iterdir()} == {"checkpoint"}
    assert main(["merge", str(many)]) == 0
    said = capsys.readouterr()
    assert "one by one" in case or said.err == ""
    assert "1912 spheres merged in" in said.out
    assert "Processors that took part: " in said.out
    for name in [*names, "n_voxels.nii.gz"]:
        np.testing.assert_array_equal(array(many, name), array(one, name), err_msg=name)
    whole = {path.name for path in one.iterdir()}
    assert {path.name for path in many.iterdir()} == {*whole, "checkpoint"}
    for table in one.glob("*.tsv"):
        assert (many / table.name).read_bytes() == table.read_bytes()
    merged, single = result(many), result(one)
    assert merged["merged"].keys() == {"processors", "hosts", "missing"}
    assert sum(merged["merged"]["processors"].values()) == 1912
    for record in (merged, single):
        for name in ("seconds", "finished", "merged"):
            record.pop(name, None)
        record["command"].pop("out")
    assert merged == single


def test_more_shards_than_centres(run, tmp_path, saved_phantom, few_centres):
    nib.save(few_centres, tmp_path / "few.nii")
    options = ["--process-mask", str(tmp_path / "few.nii")]
    assert run(tmp_path / "one", *options) == 0
    for i in range(1, 21):
        assert run(tmp_path / "many", *options, "--shard", f"{i}/20") == 0
    assert main(["merge", str(tmp_path / "many"), "--quiet"]) == 0
    np.testing.assert_array_equal(array(tmp_path / "many", "scores.nii.gz"), array(tmp_path / "one", "scores.nii.gz"))
    assert result(tmp_path / "many")["n_spheres"] < 20


@pytest.fixture
def shards(run, tmp_path, small_blocks):
    """Four shards in a folder, and the folder of the third."""
    for i in range(1, 5):
        assert run(tmp_path, "--shard", f"{i}/4") == 0
    return tmp_path


def shard(folder, i, n=4):
    return folder / "checkpoint" / f"shard-{i}-of-{n}"


def merge_fails(folder, capsys):
    capsys.readouterr()
    assert main(["merge", str(folder)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("fastsl merge: ")
    assert not (folder / "scores.nii.gz").exists()
    return said.err


COMMAND = (
    "fastsl run --imgs bold.nii --mask mask.nii.gz --labels labels.tsv --target condition --groups run --radius 15.0 "
    "--out {out} --quiet --shard {shard}"
)


def test_a_missing_shard_is_named_with_the_command_that_computes_it(shards, run, capsys):
    shutil.rmtree(shard(shards, 3))
    said = merge_fails(shards, capsys)
    assert said.splitlines() == [
        "fastsl merge: 1 of 4 shards cannot be joined, and no map is made with holes unless told to (allow_missing, "
        "--allow-missing):",
        "  shard 3/4: missing",
        "These commands compute just what is missing:",
        "  " + COMMAND.format(out=shards, shard="3/4"),
    ]
    command = said.splitlines()[-1].split()[1:]
    assert main(command) == 0
    assert main(["merge", str(shards), "--quiet"]) == 0


def test_an_unfinished_shard_is_named_and_goes_on(shards, decoded, capsys):
    removed = find_files(shard(shards, 2))[1].path
    removed.unlink()
    said = merge_fails(shards, capsys)
    assert "  shard 2/4: " in said
    assert " spheres are done" in said
    assert main(said.splitlines()[-1].split()[1:]) == 0
    assert decoded == [64]
    assert main(["merge", str(shards), "--quiet"]) == 0


def test_a_damaged_block_is_named_and_decoded_again(shards, decoded, capsys):
    file = find_files(shard(shards, 4))[0].path
    file.write_bytes(file.read_bytes()[:-4] + b"oops")
    said = merge_fails(shards, capsys)
    assert f"  shard 4/4: {file} is damaged: its checksum is not that of its name" in said
    assert main(said.splitlines()[-1].split()[1:]) == 0
    assert decoded == [64]
    assert main(["merge", str(shards), "--quiet"]) == 0


@pytest.mark.parametrize("name", ["manifest.json", "layout.npz"])
def test_a_damaged_description_is_named(shards, capsys, name):
    for i in (1, 2, 3, 4) if name == "layout.npz" else (2,):
        path = shard(shards, i) / name
        path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    if name == "layout.npz":
        assert "layout.npz is damaged: its checksum is not that of the manifest" in merge_fails(shards, capsys)
    else:
        assert "  shard 2/4: " in merge_fails(shards, capsys)


def test_a_foreign_shard_is_named_with_what_differs(shards, run, tmp_path_factory, capsys):
    other = tmp_path_factory.mktemp("other")
    assert run(other, "--shard", "3/4", "--radius", "12") == 0
    shutil.rmtree(shard(shards, 3))
    shutil.copytree(shard(other, 3), shard(shards, 3))
    said = merge_fails(shards, capsys)
    assert "  shard 3/4: " in said
    assert "belongs to another analysis; what differs: radius (12.0 here, 15.0 there)" in said
    command = said.splitlines()[-1].split()[1:]
    assert command[-1] == "--overwrite"
    assert main(command) == 0
    assert main(["merge", str(shards), "--quiet"]) == 0


def test_a_foreign_block_among_ours_is_named(shards, run, tmp_path_factory, capsys):
    other = tmp_path_factory.mktemp("other")
    assert run(other, "--shard", "1/4", "--radius", "12") == 0
    mine, theirs = find_files(shard(shards, 1))[0], find_files(shard(other, 1))[0]
    mine.path.unlink()
    shutil.copy(theirs.path, shard(shards, 1))
    assert f"{theirs.path.name} belongs to another analysis" in merge_fails(shards, capsys)


def test_shards_of_another_number_are_named(shards, run, tmp_path_factory, capsys):
    other = tmp_path_factory.mktemp("other")
    assert run(other, "--shard", "2/3") == 0
    shutil.copytree(shard(other, 2, 3), shard(shards, 2, 3))
    said = merge_fails(shards, capsys)
    assert "shard 2/3: " in said
    assert "it is one of 3 shards" in said
    assert said.splitlines()[-1] == f"  rm -r {shard(shards, 2, 3)}"


def test_a_renamed_folder_is_noticed(shards, capsys):
    shutil.rmtree(shard(shards, 2))
    shutil.copytree(shard(shards, 1), shard(shards, 2))
    assert f"{shard(shards, 2)} was shard 1/4 when it was computed" in merge_fails(shards, capsys)


def test_holes_are_made_when_told_to(shards, capsys):
    whole = fastsl.merge(shards)
    shutil.rmtree(shard(shards, 3))
    find_files(shard(shards, 2))[0].path.unlink()
    assert main(["merge", str(shards), "--allow-missing"]) == 0
    said = capsys.readouterr()
    assert "warning: the map has holes, NaN where nothing is known. Shards: 2/4: " in said.err
    assert "3/4: missing" in said.err
    inside = whole.process_mask_
    found = array(shards, "scores.nii.gz")[inside]
    known = np.isfinite(found)
    assert 0 < known.sum() < len(known)
    np.testing.assert_array_equal(found[known], whole.masked_scores_[known])
    assert set(result(shards)["merged"]["missing"]) == {"2/4", "3/4"}
    assert result(shards)["scores"]["score"]["n_nan"] == (~known).sum()
    assert main(["merge", str(shards), "--allow-missing"]) == 1
    assert "already has scores.nii.gz" in capsys.readouterr().err
    assert main(["merge", str(shards), "--allow-missing", "--overwrite", "--quiet"]) == 0


def test_a_folder_without_shards_says_what_to_give(tmp_path, capsys):
    assert main(["merge", str(tmp_path)]) == 1
    assert f"there is no shard in {tmp_path}: give the folder that 'fastsl run --shard' had" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="there is no shard in"):
        fastsl.merge(tmp_path / "nowhere")


def test_results_and_overwrite(shards, capsys):
    assert main(["merge", str(shards), "--quiet", "--picture"]) == 0
    assert (shards / "scores.png").exists()
    assert {path.name for path in (shards / "checkpoint").iterdir()} == {f"shard-{i}-of-4" for i in range(1, 5)}
    assert main(["merge", str(shards), "--quiet"]) == 1
    assert "already has scores.nii.gz" in capsys.readouterr().err


# Python


@pytest.fixture
def fit(phantom):
    def call(folder=None, shard=None, **arguments):
        searchlight = SearchLight(phantom.mask_img, radius=RADIUS, n_jobs=1, checkpoint=folder, **arguments)
        return searchlight.fit(phantom.img, phantom.labels["condition"], shard=shard)

    return call


def test_merged_results_have_the_attributes_of_a_fit(fit, tmp_path):
    arguments = {"keep_predictions": True, "keep_confusion": True}
    whole = fit(**arguments)
    for i in (3, 1, 2):
        fit(tmp_path, (i, 3), **arguments)
    merged = fastsl.merge(tmp_path)
    names = ("fold_scores_", "masked_scores_", "scores_", "n_voxels_", "predictions_", "decisions_", "confusion_")
    names += ("process_mask_", "process_mask_affine_", "prediction_samples_", "prediction_folds_", "classes_")
    for name in names:
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name), err_msg=name)
    assert merged.engine_ == whole.engine_
    assert merged.n_elements_ == whole.n_elements_
    np.testing.assert_array_equal(merged.scores_img_.get_fdata(), whole.scores_img_.get_fdata())
    np.testing.assert_array_equal(merged.n_voxels_img_.get_fdata(), whole.n_voxels_img_.get_fdata())
    assert sum(merged.processors_.values()) == sum(merged.hosts_.values()) == whole.n_elements_
    assert merged.missing_ == {}
    assert repr(merged) == "Merged(1912 spheres, 0 shards missing)"
    kept = fastsl.merge(tmp_path, keep_predictions=tmp_path / "kept")
    np.testing.assert_array_equal(np.load(tmp_path / "kept" / "predictions.npy"), whole.predictions_)
    np.testing.assert_array_equal(kept.predictions_, whole.predictions_)


def test_a_whole_fit_may_be_merged_too(fit, tmp_path):
    whole = fit(tmp_path, scoring=["accuracy", "roc_auc"])
    merged = fastsl.merge(tmp_path)
    assert merged.scores_.keys() == {"accuracy", "roc_auc"}
    for name, scores in whole.scores_.items():
        np.testing.assert_array_equal(merged.scores_[name], scores)
    assert main(["merge", str(tmp_path)]) == 1


def test_what_is_missing_in_python(fit, tmp_path):
    fit(tmp_path, (1, 3), keep_predictions=True)
    with pytest.raises(IncompleteError, match="2 of 3 shards cannot be joined") as incomplete:
        fastsl.merge(tmp_path)
    assert incomplete.value.commands == [f"SearchLight(...).fit(..., shard=({i}, 3))" for i in (2, 3)]
    assert {str(shard): text for shard, text in incomplete.value.problems.items()} == {
        "2/3": "missing",
        "3/3": "missing",
    }
    with pytest.warns(RuntimeWarning, match="the map has holes"):
        merged = fastsl.merge(tmp_path, allow_missing=True)
    absent = np.isnan(merged.masked_scores_)
    assert 0 < absent.sum() < len(absent)
    assert (merged.predictions_[:, absent] == -1).all()
    assert np.isnan(merged.decisions_[:, absent]).all()
    assert (merged.predictions_[:, ~absent] >= 0).all()
    assert (merged.n_voxels_ == 0).sum() == absent.sum()


def test_shards_that_were_cut_in_different_ways_are_noticed(fit, tmp_path, monkeypatch):
    fit(tmp_path, (1, 2))
    centres = Shard.centres
    monkeypatch.setattr(Shard, "centres", lambda self, sizes: (centres(self, sizes)[0] + 5, len(sizes)))
    fit(tmp_path, (2, 2))
    with pytest.raises(
        ValueError, match=r"the centres \d+ to \d+ are in none of them: they were cut in different ways"
    ):
        fastsl.merge(tmp_path)


def test_processors_of_several_models_are_reported(fit, tmp_path, monkeypatch):
    for i, name in ((1, "Xeon"), (2, "EPYC")):
        monkeypatch.setattr("fastsl.checkpoints.recorder.processor_name", lambda name=name: name)
        fit(tmp_path, (i, 2))
    with pytest.warns(
        RuntimeWarning, match="processors of several models took part, whose scores may differ in the last"
    ):
        merged = fastsl.merge(tmp_path)
    assert merged.processors_.keys() == {"Xeon", "EPYC"}


def test_warnings_of_shards_are_those_of_one_run(fit, tmp_path):
    for i in (1, 2):
        with pytest.warns(RuntimeWarning, match="fewer than min_voxels=19"):
            fit(tmp_path, (i, 2), min_voxels=19)
    with pytest.warns(RuntimeWarning) as merged:
        fastsl.merge(tmp_path)
    with pytest.warns(RuntimeWarning) as whole:
        fit(min_voxels=19)
    assert [str(one.message) for one in merged] == [str(one.message) for one in whole]


def test_labels_of_objects_are_merged(phantom, tmp_path):
    y = phantom.labels["condition"].astype(object)
    searchlight = SearchLight(phantom.mask_img, radius=RADIUS, n_jobs=1, checkpoint=tmp_path, keep_confusion=True)
    searchlight.fit(phantom.img, y)
    merged = fastsl.merge(tmp_path)
    np.testing.assert_array_equal(merged.confusion_, searchlight.confusion_)
    assert merged.classes_.tolist() == searchlight.classes_.tolist()


def permuted(phantom, tmp_path, **changes):
    """A search with permutations in two shards; the first is fitted."""
    arguments = {
        "radius": RADIUS,
        "estimator": RidgeClassifier(),
        "n_permutations": 19,
        "tfce": True,
        "cluster_threshold": 2.0,
        "checkpoint": tmp_path / "shards",
    }
    searchlight = SearchLight(phantom.mask_img, **{**arguments, **changes})
    return searchlight.fit(phantom.img, phantom.labels["condition"], shard=(1, 2))


def test_a_shard_knows_nothing_of_the_largest_score_of_the_whole(phantom, tmp_path):
    shard = permuted(phantom, tmp_path)
    for name in ("null_max_", "p_values_fwe_", "tfce_", "p_values_tfce_", "clusters_", "cluster_labels_"):
        assert getattr(shard, name) is None
    assert len(shard.p_values_) == len(shard.z_scores_) == shard.n_elements_ < 1912
    with pytest.raises(AttributeError, match="all centres, not a shard"):
        shard.p_values_fwe_img_  # noqa: B018


OTHER_TESTS = {
    r"permutation_seed \(1 here, 0 there\), permuted\.": {"random_state": 1},
    r"n_permutations \(20 here, 19 there\), permuted\.": {"n_permutations": 20},
    r"permutation_scheme \('free' here, 'within_groups' there\)\.": {"permutation_scheme": "free"},
    r"permutation_scheme, permuted\.": {"permutation_scheme": np.arange(19 * 40).reshape(19, 40) % 40},
    r"cluster_threshold \(3.0 here, 2.0 there\)\.": {"cluster_threshold": 3.0},
    r"connectivity \(6 here, 26 there\)\.": {"connectivity": 6},
    r"tfce \(False here, .*'E': 0.5.* there\)\.": {"tfce": False},
}


@pytest.mark.parametrize(("differs", "changes"), OTHER_TESTS.items())
def test_shards_of_another_test_are_foreign(phantom, tmp_path, differs, changes):
    shard = permuted(phantom, tmp_path).set_params(**changes)
    with pytest.raises(ValueError, match=rf"blocks of another analysis, .* what differs: {differs}"):
        shard.fit(phantom.img, phantom.labels["condition"], shard=(2, 2))


def test_maps_with_holes_have_no_family_wise_p(phantom, tmp_path):
    shard = permuted(phantom, tmp_path)
    with pytest.warns(RuntimeWarning, match="the map has holes"):
        merged = fastsl.merge(tmp_path / "shards", allow_missing=True, keep_null=tmp_path / "null")
    np.testing.assert_array_equal(merged.p_values_[: shard.n_elements_], shard.p_values_)
    assert np.isnan(merged.p_values_[shard.n_elements_ :]).all()
    assert np.isnan(merged.null_maps_[:, shard.n_elements_ :]).all()
    assert merged.p_values_fwe_ is None
    assert merged.tfce_ is None
    assert merged.null_max_ is None
    assert merged.null_maps_.shape == (19, 1912)


def test_no_room_is_taken_for_maps_that_nobody_reads(phantom, tmp_path, monkeypatch):
    """Neither in shards nor in a map with holes are there TFCE and clusters."""
    monkeypatch.setattr(nullmaps, "_allocate", lambda *_: pytest.fail("room was taken"))
    permuted(phantom, tmp_path)
    with pytest.warns(RuntimeWarning, match="the map has holes"):
        fastsl.merge(tmp_path / "shards", allow_missing=True)


def test_permuted_maps_cannot_be_kept_of_shards_that_have_none(fit, tmp_path):
    fit(tmp_path, (1, 1))
    with pytest.raises(ValueError, match=r"^keep_null='null': the shards in .* without permutations.* Leave keep_null"):
        fastsl.merge(tmp_path, keep_null="null")


def test_shards_of_an_older_format_are_refused(fit, tmp_path):
    """Their manifests and layouts lack what a merge has to know of permutations."""
    fit(tmp_path, (1, 1))
    path = tmp_path / "shard-1-of-1" / "manifest.json"
    content = json.loads(path.read_text())
    del content["checksum"]
    content["format"] = 1
    path.write_text(json.dumps({**content, "checksum": manifest._checksum(content)}))
    with pytest.raises(ValueError, match=r"no shard in .* can be read: .* was written by another version of fastsl"):
        fastsl.merge(tmp_path)


TEST = OPTIONS["permutations"]


def test_a_merge_with_holes_leaves_nothing_of_a_whole_one(run, tmp_path, capsys):
    options, _ = TEST
    for i in (1, 2):
        assert run(tmp_path, *options, "--shard", f"{i}/2") == 0
    assert main(["merge", str(tmp_path), "--quiet"]) == 0
    whole = {path.name for path in tmp_path.iterdir()}
    shutil.rmtree(shard(tmp_path, 2, 2))
    assert main(["merge", str(tmp_path), "--allow-missing", "--overwrite"]) == 0
    gone = {"p_fwe.nii.gz", "tfce.nii.gz", "p_tfce.nii.gz", "clusters.nii.gz", "clusters.tsv", "null_max.npy"}
    there = {path.name for path in tmp_path.iterdir()}
    assert there == whole - gone
    said = capsys.readouterr().out
    written = re.search(r"^Written to .*: (.*)$", said, re.MULTILINE)[1].split(", ")
    assert set(written) == there - {"checkpoint"}
    assert result(tmp_path)["scores"]["score"]["permutations"]["null_max"] is None
