"""Labels of a language model beside people's, as heavy as it agrees with them; see docs/algorithms/rlaif.md."""
