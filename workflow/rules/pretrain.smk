rule pretrain:
    output:
        model="results/pretrain/quickstart-llama/model.safetensors",
        facts="results/pretrain/quickstart-llama/pretraining.json",
    log:
        "logs/pretrain/quickstart-llama.log",
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    shell:
        "python -m lorasb pretrain --output $(dirname {output.model}) --threads {threads} > {log} 2>&1"
