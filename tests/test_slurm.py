"""SLURM without SLURM: scripts that can be read, what is submitted, and what status makes of files and of the queue."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from fastsl._kernels import bayes, bayes_classes, svm
from fastsl.checkpoints.blocks import find_files
from fastsl.cli import main
from fastsl.options import make_parser, warmup_line

JOBS = ["--shards", "4", "--cpus-per-task", "2", "--mem", "4G", "--time", "1:00:00"]


@pytest.fixture
def slurm_run(saved_phantom, monkeypatch):
    """``fastsl slurm run`` on the phantom, in its folder."""
    monkeypatch.chdir(saved_phantom)
    data = ["--imgs", "bold.nii", "--mask", "mask.nii.gz", "--labels", "labels.tsv", "--target", "condition"]

    def call(out, *options, jobs=JOBS, sbatch=()):
        return main(["slurm", "run", *data, "--groups", "run", "--out", str(out), *jobs, *options, "--", *sbatch])

    return call


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Commands of SLURM that write down how they were called and answer from files."""
    folder = tmp_path / "tools"
    folder.mkdir()
    calls = folder / "calls"
    calls.write_text("")
    for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel"):
        (folder / name).write_text(
            f'#!/bin/bash\necho "{name} $*" >> "{calls}"\nenv | grep ^SLURM_ >> "{folder}/environment"\n'
            f'[[ -e "{folder}/{name}.fails" ]] && {{ cat "{folder}/{name}.fails" >&2; exit 1; }}\n'
            f'[[ {name} == sbatch ]] && echo "$(wc -l < "{calls}");cluster"\n'
            f'cat "{folder}/{name}.says" 2>/dev/null\nexit 0\n'
        )
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def calls(tools):
    return (tools / "calls").read_text().splitlines()


def scripts(text):
    """Texts of the scripts that ``--dry-run`` printed, by name."""
    parts = re.split(r"^# ---- \S*/(\w+\.sh)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def header(text):
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]


# Scripts


def test_a_dry_run_prints_the_scripts_and_writes_nothing(slurm_run, tmp_path, capsys, saved_phantom):
    assert slurm_run(tmp_path / "out", "--dry-run", "--standardize", "--scoring", "accuracy", "f1") == 0
    found = scripts(capsys.readouterr().out)
    assert list(found) == ["warmup.sh", "shards.sh", "merge.sh"]
    assert not (tmp_path / "out").exists()
    name = re.search(r"--job-name=(fastsl-out-[0-9a-f]{6})$", found["shards.sh"], re.M)[1]
    logs = f"{tmp_path}/out/slurm/logs"
    common = [f"--chdir={saved_phantom}"]
    assert header(found["shards.sh"]) == [
        f"--job-name={name}",
        "--array=1-4",
        "--cpus-per-task=2",
        "--mem=4G",
        "--time=1:00:00",
        "--requeue",
        "--signal=B:USR1@90",
        *common,
        f"--output={logs}/shard-%a.log",
        "--open-mode=append",
    ]
    assert header(found["merge.sh"])[:5] == [
        f"--job-name={name}-merge",
        "--cpus-per-task=1",
        "--mem=4G",
        "--time=1:00:00",
        "--kill-on-invalid-dep=yes",
    ]
    assert f"--output={logs}/warmup.log" in header(found["warmup.sh"])
    assert '--shard "$SLURM_ARRAY_TASK_ID/4" &' in found["shards.sh"]
    assert "--scoring accuracy f1 \\\n" in found["shards.sh"]
    assert f'exec "${{fastsl[@]}}" merge {tmp_path}/out\n' in found["merge.sh"]
    assert (
        "warmup \\\n    --labels labels.tsv \\\n    --target condition \\\n    --groups run \\\n" in found["warmup.sh"]
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_scripts_are_bash(slurm_run, tmp_path, capsys):
    assert slurm_run(tmp_path / "a folder", "--dry-run", sbatch=["--comment", "two words"]) == 0
    for text in scripts(capsys.readouterr().out).values():
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert '--comment "two words"' in header(text)
        assert any(option.startswith(f'"--output={tmp_path}/a folder/') for option in header(text))


def test_other_options_of_sbatch_go_where_they_belong(slurm_run, tmp_path, capsys):
    further = ["--partition=short", "-A", "lab", "--array=1-4%2", "--dependency=afterok:7"]
    assert slurm_run(tmp_path / "out", "--dry-run", sbatch=further) == 0
    found = {name: header(text) for name, text in scripts(capsys.readouterr().out).items()}
    for options in found.values():
        assert {"--partition=short", "-A lab"} <= set(options)
    assert [name for name in found if "--array=1-4%2" in found[name]] == ["shards.sh"]
    assert found["shards.sh"].index("--array=1-4%2") > found["shards.sh"].index("--array=1-4")
    assert [name for name in found if "--dependency=afterok:7" in found[name]] == ["warmup.sh"]
    assert slurm_run(tmp_path / "out", "--dry-run", "--no-warmup", sbatch=further) == 0
    found = {name: header(text) for name, text in scripts(capsys.readouterr().out).items()}
    assert [name for name in found if "--dependency=afterok:7" in found[name]] == ["shards.sh"]


def test_what_only_the_merge_needs_is_only_there(slurm_run, tmp_path, capsys):
    assert slurm_run(tmp_path / "out", "--dry-run", "--picture", "--overwrite", "--quiet") == 0
    found = scripts(capsys.readouterr().out)
    assert (
        "merge " + str(tmp_path / "out") + " \\\n    --picture \\\n    --overwrite \\\n    --quiet" in found["merge.sh"]
    )
    assert "--picture" not in found["shards.sh"]
    assert "--overwrite" not in found["shards.sh"]


# The script of a task, run by bash


@pytest.fixture
def task(slurm_run, tmp_path, capsys, tools):
    """Start the script of a task, whose fastsl is bash code; return it when the code runs."""

    def start(code, **environment):
        slurm_run(tmp_path / "out", "--dry-run")
        text = scripts(capsys.readouterr().out)["shards.sh"]
        (tmp_path / "fastsl.sh").write_text(f'#!/bin/bash\necho "$*" > {tmp_path}/words\n{code}\n')
        (tmp_path / "fastsl.sh").chmod(0o755)
        text = re.sub(r"^fastsl=.*$", f"fastsl=({tmp_path}/fastsl.sh)", text, flags=re.M)
        (tmp_path / "shards.sh").write_text(text.replace("sleep 60", "sleep 0"))
        known = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "17", **environment}
        process = subprocess.Popen(["bash", tmp_path / "shards.sh"], env={**os.environ, **known})
        for _ in range(100):
            if (tmp_path / "words").exists():
                break
            time.sleep(0.05)
        time.sleep(0.1)
        return process

    return start


AGAIN = "trap 'sleep 0.2; exit 75' USR1 TERM; for ((i = 0; i < 100; i++)); do sleep 0.1; done"


@pytest.mark.parametrize("status", [0, 1, 75])
def test_a_task_ends_with_the_status_of_fastsl(task, tools, tmp_path, status):
    assert task(f"exit {status}").wait(30) == status
    assert (tmp_path / "words").read_text().split()[-2:] == ["--shard", "3/4"]
    assert calls(tools) == []


def test_a_task_at_its_time_limit_goes_back_into_the_queue(task, tools):
    process = task(AGAIN)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 75
    assert calls(tools) == ["scontrol requeue 17_3"]


def test_a_task_does_not_go_back_for_ever(task, tools):
    process = task(AGAIN, SLURM_RESTART_COUNT="20")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 75
    assert calls(tools) == []


def test_a_task_that_is_cancelled_does_not_go_back(task, tools):
    process = task(AGAIN)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    assert calls(tools) == []


def test_a_task_that_was_done_when_the_warning_came_does_not_go_back(task, tools):
    process = task("trap 'exit 0' USR1; for ((i = 0; i < 100; i++)); do sleep 0.1; done")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 0
    assert calls(tools) == []


# Submission


def test_submission_writes_and_submits_each_behind_the_one_before(slurm_run, tmp_path, tools, capsys, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    monkeypatch.setenv("SLURM_CONF", "/where/it/is")
    out = tmp_path / "out"
    assert slurm_run(out) == 0
    folder = out / "slurm"
    assert calls(tools) == [
        f"sbatch --parsable {folder}/warmup.sh",
        f"sbatch --parsable --dependency=afterany:1 {folder}/shards.sh",
        f"sbatch --parsable --dependency=afterany:2 {folder}/merge.sh",
    ]
    assert (folder / "logs").is_dir()
    assert json.loads((folder / "jobs.json").read_text())["jobs"] == {"warmup": "1", "shards": "2", "merge": "3"}
    said = capsys.readouterr().out
    assert f"Submitted warmup (1), shards (2), merge (3); scripts and logs are in {folder}." in said
    assert f"fastsl slurm status {out}" in said
    # What the job that submits has for itself is not for the jobs that are submitted.
    assert set((tools / "environment").read_text().splitlines()) == {"SLURM_CONF=/where/it/is"}


def test_what_would_fail_in_every_shard_fails_before_the_queue(slurm_run, tmp_path, tools, capsys):
    for options, message in (
        (["--estimator", "svm"], "estimator='svm' is not known"),
        (["--target", "colour"], "--target: labels.tsv has no column 'colour'"),
        (["--mask", "gone.nii"], "mask_img: there is no file gone.nii"),
        (["--shards", "0"], "--shards must be at least 1, got 0"),
        (["--cpus-per-task", "0"], "--cpus-per-task must be at least 1, got 0"),
    ):
        assert slurm_run(tmp_path / "out", *options) == 1
        assert message in capsys.readouterr().err
    assert calls(tools) == []


def test_results_and_shards_of_another_command_are_refused(slurm_run, tmp_path, tools, capsys, saved_phantom):
    out = tmp_path / "out"
    line = "run --imgs bold.nii --mask mask.nii.gz --labels labels.tsv --target condition --groups run --quiet"
    assert main([*line.split(), "--radius", "15", "--out", str(out), "--shard", "1/4"]) == 0
    assert slurm_run(out) == 1
    assert "shard-1-of-4 is a shard of another command, or of another number of shards" in capsys.readouterr().err
    assert calls(tools) == []
    assert slurm_run(out, "--overwrite") == 0
    assert not list(out.glob("checkpoint/*"))
    (out / "result.json").write_text("{}")
    assert slurm_run(out) == 1
    assert "already has result.json" in capsys.readouterr().err


def test_an_error_of_sbatch_is_told(slurm_run, tmp_path, tools, capsys):
    (tools / "sbatch.fails").write_text("sbatch: error: invalid partition specified: shrt\n")
    assert slurm_run(tmp_path / "out") == 1
    assert capsys.readouterr().err == (
        "fastsl slurm: sbatch failed: sbatch: error: invalid partition specified: shrt. Nothing is left in the queue; "
        f"the scripts are in {tmp_path}/out/slurm.\n"
    )
    assert len(calls(tools)) == 1


def test_an_array_that_is_refused_leaves_no_job(slurm_run, tmp_path, tools, capsys):
    refusing = f'echo "sbatch $*" >> "{tools}/calls"\n[[ "$*" == *shards.sh ]] && exit 1\necho 1\n'
    (tools / "sbatch").write_text(f"#!/bin/bash\n{refusing}")
    assert slurm_run(tmp_path / "out", "--shards", "5000") == 1
    assert "Many clusters allow arrays of 1,000 tasks: take fewer --shards" in capsys.readouterr().err
    assert calls(tools)[-1] == "scancel 1"
    assert not (tmp_path / "out" / "slurm" / "jobs.json").exists()


def test_without_sbatch_it_is_said_what_can_be_done(slurm_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm_run(tmp_path / "out") == 1
    assert "there is no sbatch here: submit from a machine of the cluster" in capsys.readouterr().err
    assert slurm_run(tmp_path / "out", "--dry-run") == 0


# Status


@pytest.fixture
def submitted(slurm_run, tmp_path, tools, capsys, small_blocks):
    """Four shards were submitted: the first is done, the second stopped after its first block, two have not begun."""
    out = tmp_path / "out"
    assert slurm_run(out, "--quiet") == 0
    line = "run --imgs bold.nii --mask mask.nii.gz --labels labels.tsv --target condition --groups run --quiet"
    for i in (1, 2):
        assert main([*line.split(), "--out", str(out), "--shard", f"{i}/4"]) == 0
    for file in find_files(out / "checkpoint" / "shard-2-of-4")[1:]:
        file.path.unlink()
    return out


def states(text):
    return re.findall(r"^ *\d/4 +(\w+)", text, re.M)


def status(out, capsys):
    capsys.readouterr()
    assert main(["slurm", "status", str(out)]) == 0
    return capsys.readouterr().out


def test_status_from_files_alone(submitted, capsys):
    text = status(submitted, capsys)
    assert states(text) == ["done", "failed", "missing", "missing"]
    assert re.search(r"2/4 +failed +64 of \d+ +stopped\n", text)
    assert "4 shards: 1 done, 1 failed, 2 missing." in text
    folder = submitted / "slurm"
    assert text.splitlines()[-1].strip() == (
        f"sbatch --dependency=afterany:$(sbatch --parsable --array=2,3,4 {folder}/shards.sh) {folder}/merge.sh"
    )


def test_status_from_the_queue(submitted, tools, capsys):
    (tools / "squeue.says").write_text(
        "5|1|COMPLETED|None|n1\n5|2|RUNNING|None|n1\n5|3|PENDING|Resources|\n5|4|TIMEOUT|None|n2\n"
    )
    text = status(submitted, capsys)
    assert states(text) == ["done", "running", "waiting", "failed"]
    assert "job 5_2 n1" in text
    assert "job 5_3 (Resources)" in text
    assert f"job 5_4 TIMEOUT (None), see {submitted}/slurm/logs/shard-4.log" in text
    assert "--array=4 " in text
    assert any(re.match(r"squeue -h -r -t all -n fastsl-out-\w+ ", call) for call in calls(tools))


def test_status_takes_the_later_of_two_jobs(submitted, tools, capsys):
    (tools / "squeue.says").write_text("5|2|FAILED|NonZeroExitCode|\n9|2|PENDING|Priority|\n9|3|FAILED|None|\n")
    (tools / "sacct.says").write_text(
        "5_2|FAILED|1:0\n5_3|COMPLETED|0:0\n5_4|CANCELLED by 0|0:15\n5_[7-9]|PENDING|0:0\n"
    )
    text = status(submitted, capsys)
    assert states(text) == ["done", "waiting", "failed", "failed"]
    assert "job 5_4 CANCELLED exit 0:15" in text
    assert "job 9_3 FAILED" in text


def test_status_without_an_answer_says_so(submitted, tools, capsys):
    (tools / "squeue.fails").write_text("slurm_load_jobs error: Unable to contact slurm controller\n")
    (tools / "sacct.fails").write_text("Slurm accounting storage is disabled\n")
    text = status(submitted, capsys)
    assert states(text) == ["done", "failed", "missing", "missing"]
    assert "Unable to contact slurm controller. This is what the files say." in text


def test_status_sees_a_shard_that_runs_without_slurm(submitted, capsys):
    from fastsl.checkpoints.lock import Lock

    with Lock(submitted / "checkpoint" / "shard-2-of-4" / "lock", "it"):
        text = status(submitted, capsys)
    assert states(text) == ["done", "running", "missing", "missing"]
    assert f"process {os.getpid()} on " in text


def test_status_of_a_damaged_shard(submitted, capsys):
    (submitted / "checkpoint" / "shard-1-of-4" / "manifest.json").write_text("{")
    text = status(submitted, capsys)
    assert states(text)[0] == "failed"
    assert "manifest.json cannot be read" in text


def test_status_when_all_is_done(saved_phantom, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(saved_phantom)
    line = "run --imgs bold.nii --mask mask.nii.gz --labels labels.tsv --target condition --quiet --out"
    line, out = line.split(), tmp_path / "by hand"
    assert main([*line, str(out), "--shard", "1/2"]) == 0
    *_, again, join = status(out, capsys).splitlines()
    assert again.strip().startswith("fastsl run --imgs bold.nii ")
    assert again.endswith(f" --out '{out}' --quiet --shard 2/2")
    assert join == f"  fastsl merge '{out}'"
    assert main(["merge", str(out), "--quiet", "--allow-missing"]) == 0
    assert main([*line, str(out), "--shard", "2/2"]) == 0
    assert status(out, capsys).splitlines()[-1] == (
        f"The map in {out} still has holes. Join them again: fastsl merge '{out}' --overwrite"
    )
    assert main(["merge", str(out), "--quiet", "--overwrite"]) == 0
    assert status(out, capsys).splitlines()[-1] == f"The results are in {out}."
    (out / "result.json").unlink()
    assert status(out, capsys).splitlines()[-1] == f"Join them: fastsl merge '{out}'"


def test_status_of_another_folder(tmp_path, capsys):
    assert main(["slurm", "status", str(tmp_path)]) == 1
    assert f"{tmp_path} has no shards, and nothing was submitted for it" in capsys.readouterr().err


# Compiling ahead


def test_warmup_compiles_what_a_run_would(tmp_path, saved_phantom, capsys, monkeypatch):
    monkeypatch.chdir(saved_phantom)
    assert main(["warmup", "--estimator", "ridge_classifier"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "compiled: RidgeClassifierCV is compiled; scoring: accuracy of all spheres at once\ncompiled in "
    )
    labels = ["--labels", "labels.tsv", "--target", "condition", "--groups", "run"]
    assert main(["warmup", *labels, "--scoring", "accuracy", "roc_auc", "--quiet"]) == 0
    assert main(["warmup", "--estimator", "svr", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("labels", [[], ["--labels", "labels.tsv", "--target", "condition", "--groups", "run"]])
def test_warmup_compiles_for_any_number_of_samples_and_voxels(labels, saved_phantom, monkeypatch):
    called = set()
    for name in ("squared_hinge_gram", "squared_hinge_any"):
        kernel = getattr(svm, name)
        monkeypatch.setattr(svm, name, lambda *args, name=name, kernel=kernel: (called.add(name), kernel(*args)))
    monkeypatch.chdir(saved_phantom)
    assert main(["warmup", "--estimator", "svc", "--quiet", *labels]) == 0
    assert called == {"squared_hinge_gram", "squared_hinge_any"}  # of labels alone, the radius is not known


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "classes_of_bayes"),
        (["--scoring", "roc_auc"], "naive_bayes"),
        (["--keep-predictions"], "naive_bayes"),
        (["--keep-confusion"], "naive_bayes"),
    ],
    ids=" ".join,
)
def test_warmup_compiles_the_form_of_gaussian_nb_that_a_run_takes(options, expected, saved_phantom, monkeypatch):
    called = set()
    for module, name in ((bayes, "naive_bayes"), (bayes_classes, "classes_of_bayes")):
        kernel = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, name=name, kernel=kernel: (called.add(name), kernel(*args)))
    words = ["--labels", "labels.tsv", "--target", "condition", "--groups", "run", "--estimator", "gnb", *options]
    run = ["run", "--imgs", "bold.nii", "--mask", "mask.nii.gz", "--radius", "9", "--out", "out", *words]
    monkeypatch.chdir(saved_phantom)
    assert main([*warmup_line(make_parser().parse_args(run)), "--quiet"]) == 0
    assert called == {expected}


def test_warmup_mistakes(saved_phantom, capsys, monkeypatch):
    monkeypatch.chdir(saved_phantom)
    assert main(["warmup", "--estimator", "svm"]) == 1
    assert "estimator='svm' is not known" in capsys.readouterr().err
    assert main(["warmup", "--labels", "labels.tsv"]) == 1
    assert "name the column to decode with --target" in capsys.readouterr().err
