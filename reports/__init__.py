"""Reports for people: pages, figures, model cards and videos, made from finished results.
Files: docs/code_map.md. templates/ has the layout: base.html and base.css are shared, each page
adds its own .html and .css.
"""
