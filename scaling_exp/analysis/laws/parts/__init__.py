"""The parts of the question about laws: what a study says of each quantity. One function
each, which fills the findings."""
