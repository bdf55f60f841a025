rule prepare_task:
    output:
        splits=expand(
            f"{paths.DATA}/{{split}}.parquet",
            split=["train", "selection", "test"],
            allow_missing=True,
        ),
        manifest=f"{paths.DATA}/manifest.json",
        record=f"{paths.DATA}/record.json",
    log:
        "logs/prepare_task/{study}/{model}/{task}.log",
    conda:
        "../envs/lorasb.yaml"
    resources:
        **memory_of(memory.prepare_task, "model", "task"),
    params:
        task=TASK_FLAGS,
        data_hash=hash_of(hashes.data_hash, "model", "task"),
    shell:
        "python -m lorasb prepare-task {params.task} > {log} 2>&1"
