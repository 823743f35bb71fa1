"""Random lives on virtual time: arrivals, kills, stale answers, hand stops. FUMIDAI_TEST_SEED and _RUNS change the draw."""

import os
import random
import unittest

from world import SIX_MINUTES, World

SEED = int(os.environ.get("FUMIDAI_TEST_SEED", "1"))
RUNS = int(os.environ.get("FUMIDAI_TEST_RUNS", "12"))


class Model(unittest.TestCase):
    def test_random_lives_leave_nothing_and_stop_nothing_that_is_used(self):
        for seed in range(SEED, SEED + RUNS):
            with self.subTest(seed=seed):
                self.run_one(random.Random(seed))

    def run_one(self, draw):
        world = World()
        self.addCleanup(world.close)
        instance, interface = world.instance(draw.choice(["stopped", "stopped", "running"]))
        by_hand = world.state(instance) == "running"
        stale = draw.choice([0, 0, 30, 60])
        world.stale = lambda: draw.uniform(0, stale)
        grace, limit = draw.choice([60, 120, 300]), draw.choice([1200, 2400])
        machine, stops = world.machines[instance], []
        stop = machine.stop

        def watched_stop():
            stops.append((world.clock.now, world.listed(instance, world.clock.now - stale)))
            return stop()

        machine.stop = watched_stop
        lives, starts = [], []
        for number in range(draw.randint(1, 3)):
            world.run(draw.choice([0, 1, 30, 200]))
            starts.append(world.clock.now)
            lives.append(world.start(instance, interface=interface, group=world.maintenance, grace_seconds=grace, limit_seconds=limit))
            if draw.random() < 0.7:
                world.run(draw.uniform(30, 60))
                if world.state(instance) == "running":
                    world.arrive(instance, f"user-{number}")
                    # A killed laptop: its session stays listed for up to 20 minutes more.
                    stays = draw.choice([10, 200, 900, 1200, 9000])
                    world.clock.at(world.clock.now + stays, lambda name=f"user-{number}": world.leave(name))
        world.finish(*lives)
        ended = world.clock.now
        quiet = max([min(until, ended) for _, _, until in world.sessions.values()] + starts)
        world.run(SIX_MINUTES)
        self.assertEqual(world.running(), [])
        self.assertEqual(world.groups_of(interface), [world.own])
        self.assertEqual(world.state(instance), "running" if by_hand else "stopped")
        limits = [start + limit for start in starts]
        for when, listed in stops:
            at_a_limit = any(limit_at <= when <= limit_at + 60 for limit_at in limits)
            self.assertTrue(at_a_limit or not listed, f"stopped at {when} under {listed}")
        # Start, grace, two looks, stale answers, and the way back of the group.
        self.assertLessEqual(ended - quiet, 120 + grace + 2 * 60 + 2 * stale + 100)

    def test_random_lives_with_successors_take_the_group_back_when_it_is_not_used(self):
        for seed in range(SEED, SEED + RUNS):
            with self.subTest(seed=seed):
                self.run_group(random.Random(seed))

    def run_group(self, draw):
        world = World()
        self.addCleanup(world.close)
        _, server = world.instance("running")
        taken = taken_back_under_sessions(world)
        given = {"watch": "mi-0a", "interface": server, "group": world.maintenance, "grace_seconds": draw.choice([60, 120, 300])}
        lives, limits = [], []
        for number in range(draw.randint(1, 3)):
            limit = draw.choice([600, 1200, 2400])
            limits.append(world.clock.now + limit)
            name = f"{server}.{world.maintenance}_{'x' if number else ''}{number:012x}"
            lives.append(world.start(name=name, limit_seconds=limit, extends=number > 0, **given))
            world.run(draw.uniform(0, 60))
            world.arrive("mi-0a", f"user-{number}")
            stays = draw.choice([10, 200, 900, 9000])
            world.clock.at(world.clock.now + stays, lambda name=f"user-{number}": world.leave(name))
            world.run(draw.choice([10, 300, 500, 1500]))
        world.finish(*lives)
        self.assertEqual((world.groups_of(server), world.running()), ([world.own], []))
        for when, running in taken:
            ended = [number for number, limit in enumerate(limits) if limit <= when <= limit + 60]
            self.assertTrue(ended, f"taken back at {when} under a session, at no limit")
            self.assertFalse(running & set(lives[ended[-1] + 1:]), f"taken back at {when} though a successor runs")


def taken_back_under_sessions(world):
    """Collects when the group is taken off the interface while somebody is listed, and which lives run then."""
    taken = []

    def note(action, _):
        wrote = action == "modify_network_interface_attribute" and world.maintenance not in world.calls[-1][2]["Groups"]
        if wrote and world.listed("mi-0a", world.clock.now):
            taken.append((world.clock.now, set(world.running())))

    world.faults.append(note)
    return taken


if __name__ == "__main__":
    unittest.main()
