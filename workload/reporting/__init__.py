"""The parts of the report: logs, frames and answers, prices, plots, and the page."""
