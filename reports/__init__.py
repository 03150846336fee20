"""Reports for people: pages, figures, model cards and videos, made from finished results.

Pages and files of a run
    run_report.py          MODEL_CARD.md and report.html of a finished training run
    evaluation_report.py   report.html of a training run, an evaluation or the overfit check
    corpus_report.py       a corpus on one page: the check's findings, plots and skeletons
    model_card.py          MODEL_CARD.md: the model, its data, its error rate and its limits
    verdict.py             how a training went, or how good an evaluation is, in plain words
    provenance.py          environment.json: code, versions and machine of each session
    result_files.py        small files of results: JSON and hypotheses

Parts of report.html
    decoded_split.py       a split with one decoder's predictions: the input of a report
    decoder_comparison.py  WER and time of all decoders on the same posteriors
    sentence_ranking.py    the worst and the best sentences, gloss by gloss
    posterior_maps.py      posteriors of three sentences over time, with skeletons
    figures.py             curves, intervals, posterior maps and small skeletons as SVG

Drawing and writing
    embedded_figures.py    matplotlib figures inside a page: SVG in the page's colours, or PNG
    skeleton.py            landmarks as lines in a matplotlib plot
    video_overlay.py       skeleton and glosses drawn onto a video
    rendering.py           fill the Jinja2 templates of templates/ and write them
    evenly_spread.py       choose a few of many sentences or frames

templates/ has the layout: base.html and base.css are shared, each page adds its own .html and .css.
"""
