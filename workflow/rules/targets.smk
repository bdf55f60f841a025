# What people ask for by name.

TABLE_NAMES = ["accuracy", "costs", "paired_differences", "claims", "prepared_data"]
if STUDY.learning_rates == "selected":
    TABLE_NAMES.append("learning_rates")
if compared.has_evaluation_sets(STUDY):
    TABLE_NAMES.append("accuracy_by_set")
if models_of_paper() & STUDY.models.keys():
    TABLE_NAMES.append("paper")
FIGURE_NAMES = ["score_vs_trainable", "score_vs_stored", "training_loss"]
if compared.compares_directions(STUDY):
    FIGURE_NAMES.append("direction_preservation")
if compared.keeps_snapshots(STUDY):
    FIGURE_NAMES += ["gradient_alignment", "subspace_energy"]
    FIGURE_NAMES += ["principal_angles", "alignment_by_module", "captured_energy"]
VARIED = compared.varied_arguments(STUDY)
if "scaling" in VARIED:
    FIGURE_NAMES.append("scale_sensitivity")
if "samples" in VARIED:
    FIGURE_NAMES.append("gradient_samples")
if VARIED & {"noise", "signal"}:
    FIGURE_NAMES.append("noise_level")


rule tables:
    input:
        expand(f"{paths.TABLES}/{{name}}.md", study=STUDY.name, name=TABLE_NAMES),


rule figures:
    input:
        expand(f"{paths.FIGURES}/{{name}}.png", study=STUDY.name, name=FIGURE_NAMES),


rule sweep:
    input:
        expand(f"{paths.TABLES}/selected_lr.tsv", study=STUDY),
        expand(f"{paths.FIGURES}/learning_rate_sweep.png", study=STUDY),


rule plan:
    log:
        f"logs/plan/{STUDY.name}.log",
    conda:
        "../envs/lorasb.yaml"
    params:
        study=STUDY.name,
    shell:
        "python -m lorasb plan --study {params.study} 2> {log}"
