# Which rule writes what, under results/{study}/:
#   fetch_model                       shared/models/     where a model that comes as a GGUF file is from
#   prepare_task                      shared/data/       tokenised splits with a manifest
#   estimate_gradient                 shared/gradients/  gradient of the adapted weights at the base model
#   factorize_gradient, _weights      shared/factors/    truncated SVDs, shared by ranks and learning rates
#   train, predict                    runs/              one folder a cell: adapter, log, timing, predictions
#   score, probe_directions           scores/ directions/ probes/
#   measure_spectra                   spectra/           spectra of the gradients
#   collect, select_lr                tables/            tidy tables; then tables/, figures/ for readers
#   report_page                       report.html        the page of the study

from snakemake.utils import min_version

min_version("9.20")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/catalogues.smk"
include: "workflow/rules/page.smk"
include: "workflow/rules/targets.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/start.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/pretrain.smk"


onstart:
    start_service()


onsuccess:
    for line in after_success():
        logger.info(line)


onerror:
    for line in after_failure():
        logger.error(line)


rule all:
    default_target: True
    input:
        RESULT_FILES,  # once: a study of many cells has many of them
        TABLE_FILES,
        FIGURE_FILES,
        expand(paths.PAGE, study=STUDY.name),
