rule fetch_model:
    output:
        origin=f"{paths.MODEL}/model.json",
    log:
        "logs/fetch_model/{study}/{model}.log",
    conda:
        "../envs/lorasb.yaml"
    resources:
        **memory_of(memory.fetch_model, "model"),
    params:
        model_hash=hash_of(hashes.model_hash, "model"),
    shell:
        "python -m lorasb fetch-model --study {wildcards.study} --model {wildcards.model} > {log} 2>&1"


rule prepare_task:
    input:
        get_model,
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
