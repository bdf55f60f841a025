# One cell. Two ways to the same files: a study says whether the training process also predicts.


rule train:
    input:
        get_training_inputs,
    output:
        adapter=directory(f"{paths.CELL}/adapter"),
        log=f"{paths.CELL}/train.jsonl",
        snapshots=f"{paths.CELL}/snapshots.safetensors",
        config=f"{paths.CELL}/config.json",
        timing=f"{paths.CELL}/timing.json",
        provenance=f"{paths.CELL}/provenance.json",
        record=f"{paths.CELL}/train.record.json",
    log:
        "logs/train/{study}/{model}/{task}/{variant}/r{rank}/lr{lr}/seed{seed}.log",
    wildcard_constraints:
        study=APART,
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        **memory_of(memory.train, "cell"),
    params:
        cell=CELL_FLAGS,
        cell_hash=get_cell_hash,
    shell:
        "python -m lorasb train {params.cell} --cell-hash {params.cell_hash} "
        "--threads {threads} > {log} 2>&1"


use rule train as train_and_predict with:
    output:
        adapter=directory(f"{paths.CELL}/adapter"),
        log=f"{paths.CELL}/train.jsonl",
        snapshots=f"{paths.CELL}/snapshots.safetensors",
        config=f"{paths.CELL}/config.json",
        timing=f"{paths.CELL}/timing.json",
        provenance=f"{paths.CELL}/provenance.json",
        record=f"{paths.CELL}/train.record.json",
        predictions=f"{paths.CELL}/predictions.jsonl",
        predict_timing=f"{paths.CELL}/predict_timing.json",
        predict_record=f"{paths.CELL}/predict.record.json",
    log:
        "logs/train_and_predict/{study}/{model}/{task}/{variant}/r{rank}/lr{lr}/seed{seed}.log",
    wildcard_constraints:
        study=TOGETHER,
    conda:
        "../envs/lorasb.yaml"
    resources:
        **memory_of(memory.train_and_predict, "cell"),


rule predict:
    input:
        adapter=f"{paths.CELL}/adapter",
        split=lambda wildcards: str(cell_of(wildcards).split_path),
    output:
        predictions=f"{paths.CELL}/predictions.jsonl",
        timing=f"{paths.CELL}/predict_timing.json",
        record=f"{paths.CELL}/predict.record.json",
    log:
        "logs/predict/{study}/{model}/{task}/{variant}/r{rank}/lr{lr}/seed{seed}.log",
    wildcard_constraints:
        study=APART,
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        **memory_of(memory.predict, "cell"),
    params:
        cell=CELL_FLAGS,
    shell:
        "python -m lorasb predict {params.cell} --threads {threads} > {log} 2>&1"
