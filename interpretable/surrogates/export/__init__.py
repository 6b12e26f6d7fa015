"""Trees for a reader: as text, as a graph, as a picture and as a page."""
