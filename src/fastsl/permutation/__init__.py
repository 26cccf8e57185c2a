"""Permutation tests: what is exchanged, how all permutations of a sphere are decoded, and what their scores say.

``schemes`` draws permutations, ``nulls`` decodes them, ``nullmaps`` counts and keeps what they scored, ``inference``
makes p values and z scores of that, ``clusters`` enhances maps, and ``familywise`` corrects over the brain.
"""
