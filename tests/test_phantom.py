"""The made-up data set: what it is, and that its answer is found."""

import nibabel as nib
import numpy as np
import pytest
from sklearn.model_selection import LeaveOneGroupOut

from fastsl import SearchLight, make_phantom
from fastsl.phantom import SIGNAL_CENTRES, SIGNAL_RADIUS


def test_shapes_types_and_labels():
    phantom = make_phantom(voxel_size=9.1, n_runs=3, volumes_per_run=8)
    assert phantom.img.shape == (20, 24, 20, 24)
    assert phantom.mask_img.shape == phantom.signal_img.shape == (20, 24, 20)
    assert phantom.img.get_data_dtype() == np.int16
    assert phantom.mask_img.get_data_dtype() == phantom.signal_img.get_data_dtype() == np.uint8
    np.testing.assert_allclose(phantom.img.header.get_zooms()[:3], 9.1, rtol=1e-6)
    for image in (phantom.mask_img, phantom.signal_img):
        np.testing.assert_array_equal(image.affine, phantom.img.affine)
    np.testing.assert_array_equal(phantom.labels["run"], np.repeat([1, 2, 3], 8))
    for run in (1, 2, 3):
        names, counts = np.unique(phantom.labels["condition"][phantom.labels["run"] == run], return_counts=True)
        assert names.tolist() == ["face", "house"]
        assert counts.tolist() == [4, 4]


def test_the_brain_has_the_volume_of_a_brain():
    phantom = make_phantom(voxel_size=4, n_runs=1, volumes_per_run=2)
    inside = phantom.mask_img.get_fdata() > 0
    assert 1.7e6 < 64 * inside.sum() < 2.0e6  # mm3
    data = np.asanyarray(phantom.img.dataobj)
    assert (data[~inside] == 0).all()
    assert (data[inside] > 0).all()
    assert not (phantom.signal_img.get_fdata()[~inside] > 0).any()


def test_signal_is_within_its_radius_of_each_place():
    signal = make_phantom(voxel_size=3, n_runs=1, volumes_per_run=2).signal_img
    for number, centre in enumerate(SIGNAL_CENTRES, start=1):
        places = nib.affines.apply_affine(signal.affine, np.argwhere(signal.get_fdata() == number))
        assert len(places) > 50
        assert np.linalg.norm(places - centre, axis=1).max() <= SIGNAL_RADIUS


def test_the_seed_decides_and_global_state_does_not():
    first = make_phantom(voxel_size=12, n_runs=2, volumes_per_run=4, seed=3)
    np.random.seed(99)  # noqa: NPY002
    second = make_phantom(voxel_size=12, n_runs=2, volumes_per_run=4, seed=3)
    other = make_phantom(voxel_size=12, n_runs=2, volumes_per_run=4, seed=4)
    np.testing.assert_array_equal(first.img.get_fdata(), second.img.get_fdata())
    assert (first.img.get_fdata() != other.img.get_fdata()).any()
    np.testing.assert_array_equal(first.mask_img.get_fdata(), other.mask_img.get_fdata())


def test_conditions_differ_in_the_planted_places_only():
    phantom = make_phantom(voxel_size=8, n_runs=6, volumes_per_run=20, signal=1.0)
    data = phantom.img.get_fdata()
    is_face = phantom.labels["condition"] == "face"
    difference = data[..., is_face].mean(axis=-1) - data[..., ~is_face].mean(axis=-1)
    brain, planted = phantom.mask_img.get_fdata() > 0, phantom.signal_img.get_fdata() > 0
    noise = data[..., phantom.labels["run"] == 1][brain & ~planted].std(axis=1).mean()
    error = noise * np.sqrt(2 / 60)
    outside = difference[brain & ~planted]
    assert np.abs(outside).max() < 6 * error
    assert np.abs(outside.mean()) < error
    np.testing.assert_allclose(np.abs(difference[planted]), 20.0, atol=5 * error)  # one standard deviation of 2 %
    assert {-1.0, 1.0} <= set(np.sign(difference[planted]))  # a pattern, not a mean


def test_without_signal_there_is_no_difference():
    arguments = {"voxel_size": 10, "n_runs": 2, "volumes_per_run": 4}
    with_it, without = make_phantom(**arguments, signal=1.0), make_phantom(**arguments, signal=0.0)
    changed = (with_it.img.get_fdata() != without.img.get_fdata()).any(axis=-1)
    np.testing.assert_array_equal(changed, with_it.signal_img.get_fdata() > 0)


def test_a_searchlight_finds_the_planted_places():
    phantom = make_phantom(voxel_size=8, n_runs=6, volumes_per_run=10, signal=1.5)
    searchlight = SearchLight(phantom.mask_img, radius=9.0, cv=LeaveOneGroupOut(), standardize=True)
    scores = searchlight.fit(phantom.img, phantom.labels["condition"], phantom.labels["run"]).scores_
    planted, brain = phantom.signal_img.get_fdata() > 0, phantom.mask_img.get_fdata() > 0
    limit = np.quantile(scores[brain & ~planted], 0.95)
    assert (scores[planted] > limit).mean() > 0.8
    assert abs(np.median(scores[brain & ~planted]) - 0.5) < 0.05  # chance elsewhere


def test_saved_files_are_the_phantom(tmp_path):
    phantom = make_phantom(voxel_size=14, n_runs=2, volumes_per_run=4)
    folder = phantom.save(tmp_path / "new" / "folder")
    assert {path.name for path in folder.iterdir()} == {"bold.nii", "mask.nii.gz", "signal.nii.gz", "labels.tsv"}
    for name, image in (("bold.nii", "img"), ("mask.nii.gz", "mask_img"), ("signal.nii.gz", "signal_img")):
        back, expected = nib.load(folder / name), getattr(phantom, image)
        np.testing.assert_array_equal(back.get_fdata(), expected.get_fdata())
        np.testing.assert_allclose(back.affine, expected.affine, rtol=1e-6)
        assert back.get_data_dtype() == expected.get_data_dtype()
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()]
    assert rows[0] == ["condition", "run"]
    assert [row[0] for row in rows[1:]] == phantom.labels["condition"].tolist()
    assert [int(row[1]) for row in rows[1:]] == phantom.labels["run"].tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"voxel_size": 0}, "voxel_size must be positive"),
        ({"voxel_size": -3}, "voxel_size must be positive"),
        ({"voxel_size": float("nan")}, "voxel_size must be positive"),
        ({"volumes_per_run": 7}, "volumes_per_run must be even and at least 2, got 7"),
        ({"volumes_per_run": 0}, "volumes_per_run must be even and at least 2, got 0"),
    ],
)
def test_what_makes_no_phantom(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_phantom(**arguments)
