"""What `./dev bench wake` prints: tables, and each target with what was measured."""

import harness

WAY_NAMES = {"init": "init", "restore": "restore", "init_cold": "init, cold", "restore_cold": "restore, cold"}


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def of(samples, way, key):
    return [one[key] for one in samples[way] if key in one]


def two(values):
    """p50 and p99 in a cell; of fewer than a hundred the p99 is the largest."""
    return f"{harness.median(values):.1f} / {quantile(values, 0.99):.1f}" if values else "-"


def warm_ms(samples):
    warm = of(samples, "warm", "first_ms")
    return harness.median(warm) if warm else None


def ratio(above, below):
    """Of the medians, and of the p99s."""
    if not above or not below:
        return None
    return {"p50": harness.median(above) / harness.median(below), "p99": quantile(above, 0.99) / quantile(below, 0.99)}


def targets(results):
    """Each target, what was measured, and whether it is met: None where this run did not measure it."""
    checks = []

    def check(what, measured, bound, unit, at_least=False):
        met = None if measured is None else bool(measured >= bound if at_least else measured <= bound)
        checks.append({"what": what, "measured": measured, "bound": bound, "unit": unit, "at_least": at_least, "met": met})

    samples = results.get("qa", {}).get("ways", {}).get("samples")
    running = of(samples, "restore", "running_ms") if samples else []
    over = ([value - warm_ms(samples) for value in of(samples, "restore", "first_ms")]
            if samples and samples["warm"] else [])
    check("qa: runs again, p50", harness.median(running) if running else None, 5, "ms")
    check("qa: runs again, p99", quantile(running, 0.99) if running else None, 10, "ms")
    check("qa: first byte over a warm one, p50", harness.median(over) if over else None, 10, "ms")
    check("qa: first byte over a warm one, p99", quantile(over, 0.99) if over else None, 30, "ms")
    burst = results.get("fastapi-hello", {}).get("burst")
    check("fastapi-hello: all of 100 clones have answered, p50",
          harness.median([one["all_ms"] for one in burst]) if burst else None, 300, "ms")
    check("fastapi-hello: memory of each of them (PSS)",
          max(one["pss_bytes"] / one["environments"] for one in burst) / 1e6 if burst else None, 6, "MB")
    for name, one in results.items():
        samples = one.get("ways", {}).get("samples")
        if samples and samples["restore"]:
            first = {way: of(samples, way, "first_ms") for way in WAY_NAMES}
            check(f"{name}: init to restore, in memory", ratio(first["init"], first["restore"])["p50"], 20, "x", True)
            check(f"{name}: init to restore, both cold", ratio(first["init_cold"], first["restore_cold"])["p50"], 3, "x",
                  True)
            peer = one.get("gvisor", {}).get("samples")
            if peer:
                check(f"{name}: runsc's restore to Thaw's",
                      ratio([sample["first_ms"] for sample in peer], first["restore"])["p50"], 10, "x", True)
    return checks


def print_ways(results):
    rows = [["ms to the first byte, p50 / p99", "warm", *WAY_NAMES.values(), "runsc restore", "samples"]]
    ratios = [["times, p50 / p99", "init to restore", "until ready", "both cold", "runsc to restore"]]
    running = [["ms until it runs again, p50 / p99", "restore: pool", "spawner", "cold: pool", "spawner", "runsc",
                "image MB", "runsc's"]]
    for name, one in results.items():
        if "ways" not in one and "gvisor" not in one:
            continue
        samples = one.get("ways", {}).get("samples") or {way: [] for way in (*WAY_NAMES, "warm")}
        peer = one.get("gvisor", {}).get("samples", [])
        peer_first = [sample["first_ms"] for sample in peer]
        first = {way: of(samples, way, "first_ms") for way in WAY_NAMES}
        rows.append([name, two(of(samples, "warm", "first_ms")), *(two(first[way]) for way in WAY_NAMES), two(peer_first),
                     "/".join(str(len(samples[way])) for way in WAY_NAMES)])
        ready = {way: of(samples, way, "running_ms") for way in ("init", "restore")}
        pairs = [ratio(first["init"], first["restore"]), ratio(ready["init"], ready["restore"]),
                 ratio(first["init_cold"], first["restore_cold"]), ratio(peer_first, first["restore"])]
        ratios.append([name, *(f"{pair['p50']:.1f} / {pair['p99']:.1f}" if pair else "-" for pair in pairs)])
        running.append([name, *(two(of(samples, way, key)) for way in ("restore", "restore_cold")
                                for key in ("running_ms", "spawner_ms")),
                        two([sample["running_ms"] for sample in peer]),
                        f"{one['ways']['image_bytes'] / 1e6:.1f}" if one.get("ways") else "-",
                        f"{one['gvisor']['image_bytes'] / 1e6:.1f}" if peer else "-"])
    if len(rows) > 1:
        for table in (rows, ratios, running):
            print(harness.table(table) + "\n")


def print_steps(results):
    for name, one in results.items():
        samples = one.get("ways", {}).get("samples", {})
        for way in ("restore", "init"):
            steps = of(samples, way, "steps_us") if samples else []
            if steps:
                # What was prepared before the request came is not on its way: wait_us is the waiting in between.
                medians = ", ".join(f"{step} {harness.median([each[step] for each in steps if step in each]):.0f}"
                                    for step in steps[0] if step != "wait")
                print(f"{name}, {way}: the spawner's steps, median us: {medians}")


def print_memory(results):
    rows = [["MB a clone that has answered", "clones", "PSS", "memory cgroup"]]
    for name, one in results.items():
        for figures in one.get("memory", []):
            count = figures["environments"]
            rows.append([name, str(count), f"{figures['pss_bytes'] / count / 1e6:.2f}",
                         f"{figures['cgroup_bytes'] / count / 1e6:.2f}"])
        for figures in one.get("burst", [])[:1]:
            count = figures["environments"]
            rows.append([f"{name}, burst", str(count), f"{figures['pss_bytes'] / count / 1e6:.2f}",
                         f"{figures['cgroup_bytes'] / count / 1e6:.2f}"])
    if len(rows) > 1:
        print("\n" + harness.table(rows))


def print_bursts(results):
    for name, one in results.items():
        if bursts := one.get("burst"):
            low, middle, high = harness.spread([each["all_ms"] for each in bursts])
            half = harness.median([each["half_ms"] for each in bursts])
            client = harness.median([each["client_cpu_ms"] for each in bursts])
            print(f"\n{name}: {bursts[0]['environments']} connections at once from zero, {len(bursts)} times: all answered "
                  f"after {middle:.0f} ms ({low:.0f} to {high:.0f}), half of them after {half:.0f} ms; each by an "
                  f"environment of its own, which is busy until all have answered. The client computed {client:.1f} ms.")


def print_all(about, results, checks):
    print(harness.machine_line(about) + f", after {about['load_after']}")
    print(f"thaw {about['thaw']}, runsc {about['runsc']} (ptrace: no KVM; clock from the start of runsc restore)\n")
    print_ways(results)
    print_steps(results)
    print_memory(results)
    print_bursts(results)
    print()
    for name, one in results.items():
        if "skipped" in one:
            print(f"{name}: skipped: {one['skipped']}")
        for part, word in (("ways", "Thaw"), ("gvisor", "runsc")):
            if one.get(part, {}).get("refusal"):
                print(f"{name}: no restore by {word}: {one[part]['refusal']}")
        if one.get("ways"):
            print(f"{name}: cold means: daemon restarted, {one['ways']['cold']}")
    print()
    for check in checks:
        sign = ">=" if check["at_least"] else "<="
        said = "not measured" if check["met"] is None else f"{check['measured']:.1f} {check['unit']}"
        verdict = {None: "", True: ": met", False: ": missed"}[check["met"]]
        print(f"{check['what']}: {said}; target {sign} {check['bound']} {check['unit']}{verdict}")
