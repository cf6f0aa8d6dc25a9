"""Reproduce a paper's tables: the runs that a table needs, the statistics over seeds and patients, and the table."""
