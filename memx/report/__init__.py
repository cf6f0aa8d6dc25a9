"""The report: figures as functions of plain numbers, sections, and one HTML file that holds all it shows."""
