"""Everything that is drawn for people: pages, figures, overlays, model cards."""
