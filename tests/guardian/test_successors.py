"""Names of executions, successors of a life, and what the templates can set."""

import unittest

from world import World, denied


class Successors(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.instance, self.interface = self.world.instance()

    def first(self, **given):
        return self.world.start(self.instance, name=f"{self.instance}_00000000000a", limit_seconds=1200, **given)

    def next(self, name="x00000000000b", limit_seconds=3600, **given):
        return self.world.start(self.instance, name=f"{self.instance}_{name}", limit_seconds=limit_seconds, extends=True, **given)

    def why(self, life):
        return self.world.finish(life)["output"]

    def test_a_successor_takes_over_at_the_limit(self):
        lend = {"group": self.world.maintenance, "interface": self.interface}
        first = self.first(**lend)
        self.world.arrive(self.instance, "alice-1")
        self.world.run(600)
        second = self.next(**lend)
        self.assertIn('"why": "another life goes on", "stopped": false', self.why(first))
        self.assertEqual(self.world.state(self.instance), "running")
        self.assertIn(self.world.maintenance, self.world.groups_of(self.interface))
        self.world.run(1800)
        self.assertEqual(self.world.state(self.instance), "running")
        self.assertIn('"why": "the limit is reached", "stopped": true', self.why(second))
        self.assertEqual(self.world.state(self.instance), "stopping")
        self.assertEqual(self.world.groups_of(self.interface), [self.world.own])

    def test_a_chain_of_successors_ends_with_the_last(self):
        self.world.arrive(self.instance, "alice-1")
        lives = [self.first()]
        for number in range(3):
            self.world.run(600)
            lives.append(self.next(f"x{number:012x}", limit_seconds=1800))
        answers = self.world.finish(*lives)
        self.assertEqual([answer["output"].count("another life goes on") for answer in answers], [1, 1, 1, 0])
        self.assertEqual(self.world.state(self.instance), "stopping")

    def test_a_successor_stops_an_unused_instance_after_the_grace(self):
        self.world.finish(self.first())
        self.world.machines[self.instance].set("running")
        self.assertIn('"stopped": true', self.why(self.next()))

    def test_only_a_later_successor_of_the_same_target_counts(self):
        for name in ("{}_00000000000b", "i-0a_x00000000000b", "{}0_x00000000000b", "x_{}_x00000000000b"):
            with self.subTest(name=name):
                self.world.close()
                self.setUp()
                self.world.arrive(self.instance, "alice-1")
                first = self.first()
                self.world.run(600)
                self.world.start(self.world.instance("running")[0], name=name.format(self.instance), grace_seconds=7200)
                self.assertIn('"why": "the limit is reached", "stopped": true', self.why(first))

    def test_a_successor_does_not_hand_over_to_an_earlier_one(self):
        self.world.arrive(self.instance, "alice-1")
        early = self.next("x00000000000a", limit_seconds=7200)
        late = self.next("x00000000000b", limit_seconds=1200)
        self.assertIn("the limit is reached", self.why(late))
        self.world.finish(early)

    def test_an_ended_successor_does_not_count(self):
        first = self.first(grace_seconds=3000)
        second = self.next(limit_seconds=300, grace_seconds=3000)
        self.world.finish(second)
        self.world.machines[self.instance].set("running")
        self.assertIn('"why": "the limit is reached", "stopped": true', self.why(first))

    def test_a_list_that_fails_stops_as_usual(self):
        self.world.faults.append(denied("list_executions"))
        self.world.arrive(self.instance, "alice-1")
        first = self.first()
        self.world.run(600)
        self.next()
        self.assertIn('"why": "the limit is reached", "stopped": true', self.why(first))

    def test_the_group_of_a_watched_target_goes_on_with_the_successor(self):
        _, server = self.world.instance("running")
        given = {"watch": "mi-0a", "group": self.world.maintenance, "interface": server}
        key = f"{server}.{self.world.maintenance}"
        self.world.arrive("mi-0a", "alice-1")
        first = self.world.start(name=f"{key}_00000000000a", limit_seconds=1200, **given)
        self.world.run(600)
        second = self.world.start(name=f"{key}_x00000000000b", limit_seconds=3600, extends=True, **given)
        self.assertIn("another life goes on", self.why(first))
        self.assertIn(self.world.maintenance, self.world.groups_of(server))
        self.assertIn('"lent": true', self.why(second))
        self.assertEqual(self.world.groups_of(server), [self.world.own])


class Settings(unittest.TestCase):
    def world_with(self, **settings):
        world = World(**settings)
        self.addCleanup(world.close)
        return world, world.instance()[0]

    def test_successors_can_be_forbidden(self):
        world, instance = self.world_with(successors=False)
        answer = world.finish(world.start(instance, extends=True))
        self.assertEqual(answer["error"], "fumidai.NotAllowed")
        self.assertEqual(world.calls, [])
        self.assertEqual(world.finish(world.start(instance))["status"], "SUCCEEDED")

    def test_the_longest_life_can_be_shorter(self):
        for given in ({}, {"limit_seconds": 80_000}):
            world, instance = self.world_with(longest_hours=2)
            world.arrive(instance, "forgotten-1")
            self.assertIn("the limit is reached", world.finish(world.start(instance, **given))["output"])
            self.assertTrue(7200 <= world.clock.now <= 7210)
            world.close()


if __name__ == "__main__":
    unittest.main()
