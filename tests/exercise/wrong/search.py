"""Wrong answers to chapter 10's search, as readers write them."""


def ranked_once(drift, sizes, budget):
    chosen, spent = [], 0
    for name in sorted(sizes, key=lambda n: drift([n]) - drift([])):
        if drift([name]) < drift([]) and spent + sizes[name] <= budget:
            chosen, spent = [*chosen, name], spent + sizes[name]
    return chosen


def never_ends_early(drift, sizes, budget):
    chosen, spent = [], 0
    while True:
        left = [n for n in sizes if n not in chosen and spent + sizes[n] <= budget]
        if not left:
            return chosen
        best = min(left, key=lambda n: drift([*chosen, n]))
        chosen, spent = [*chosen, best], spent + sizes[best]


def counts_tensors(drift, sizes, budget):
    chosen = []
    while len(chosen) < budget and len(chosen) < len(sizes):
        best = min((n for n in sizes if n not in chosen), key=lambda n: drift([*chosen, n]))
        if drift([*chosen, best]) >= drift(chosen):
            break
        chosen.append(best)
    return chosen


WRONG = [
    ("search.greedy", ranked_once, "ranked the tensors once"),
    ("search.greedy", never_ends_early, "nothing helps any more"),
    ("search.greedy", counts_tensors, "counted tensors"),
]
