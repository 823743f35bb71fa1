"""Lives that lend a group while a target that they do not start or stop is used, and the last look before a group is taken back."""

import unittest

from world import World, denied, lost, throttled

TASK = "ecs:maintenance_0123456789abcdef0123456789abcdef_0123456789abcdef0123456789abcdef-1234567890"
TARGETS = ("i-0123456789abcdef0", "mi-0123456789abcdef0", TASK)


class Watching(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        _, self.server = self.world.instance("running")

    def watch(self, target="mi-0123456789abcdef0", **given):
        given = {"watch": target, "group": self.world.maintenance, "interface": self.server, **given}
        return self.world.start(name=f"{given['interface']}.{given['group']}_{self.world.names:012x}", **given)

    def lent(self):
        return self.world.maintenance in self.world.groups_of(self.server)

    def test_the_group_is_on_the_interface_while_anybody_is_on_the_watched_target(self):
        for target in TARGETS:
            with self.subTest(target=target):
                life = self.watch(target)
                self.world.run(30)
                self.assertTrue(self.lent())
                self.world.arrive(target, "alice-1")
                self.world.run(3600)
                self.assertTrue(self.lent())
                self.world.leave("alice-1")
                left = self.world.clock.now
                self.assertEqual(self.world.finish(life)["status"], "SUCCEEDED")
                self.assertLessEqual(self.world.clock.now - left, 120 + 2 * 60 + 10)
                self.assertFalse(self.lent())

    def test_the_watched_machine_gets_no_call(self):
        instance, _ = self.world.instance("stopped")
        answer = self.world.finish(self.watch(instance, stop="always"))
        self.assertIn('"why": "nobody was on it", "stopped": false, "lent": true', answer["output"])
        calls = {action for _, action, _ in self.world.calls}
        self.assertEqual(calls, {"describe_security_groups", "describe_network_interfaces",
                                 "modify_network_interface_attribute", "describe_sessions"})

    def test_the_limit_takes_the_group_back_under_a_session(self):
        life = self.watch(limit_seconds=1800)
        self.world.arrive("mi-0123456789abcdef0", "forgotten-1")
        self.assertIn("the limit is reached", self.world.finish(life)["output"])
        self.assertLessEqual(self.world.clock.now, 1810)
        self.assertFalse(self.lent())

    def test_a_group_that_was_on_the_interface_stays(self):
        self.world.put_groups(self.server, [self.world.own, self.world.maintenance])
        self.assertIn('"lent": false', self.world.finish(self.watch())["output"])
        self.assertTrue(self.lent())

    def test_bad_forms_are_refused_without_a_call(self):
        interface, group = self.server, self.world.maintenance
        both = {"interface": interface, "group": group}
        targets = ("", "web", "i-", "i-XYZ", "ecs:", "ecs:a", "ecs:a_b", "eni-0a", 5, None, {}, "xi-0a", "i-0a ", TASK + "/x")
        bad = [{"watch": target, **both} for target in targets] + [
            {"watch": "i-0a", "group": group}, {"watch": "i-0a", "interface": interface}, {"watch": "i-0a"},
            {"watch": "i-0a", "group": "SG", "interface": interface}, {"watch": "i-0a", "group": group, "interface": "eth0"},
            {"watch": "i-0a", "instance": "i-0a", **both}, {"watch": "i-0a", "task": {"cluster": "a"}, **both}]
        for given in bad:
            with self.subTest(given=given):
                answer = self.world.finish(self.world.start(**given))
                self.assertEqual((answer["status"], answer["error"]), ("FAILED", "fumidai.BadInput"))
        self.assertEqual(self.world.calls, [])

    def test_failing_calls_leave_no_group(self):
        for fault in (denied("describe_sessions"), throttled("modify_network_interface_attribute", 2),
                      lost("modify_network_interface_attribute"), lost("describe_network_interfaces"), throttled("describe_sessions", 3)):
            world = World()
            self.world, (_, self.server) = world, world.instance("running")
            world.faults.append(fault)
            world.finish(self.watch())
            self.assertFalse(self.lent())
            world.close()


class LastLook(unittest.TestCase):
    target = "mi-0123456789abcdef0"

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        _, self.server = self.world.instance("running")

    def watch(self, **given):
        return self.world.start(watch=self.target, group=self.world.maintenance, interface=self.server, **given)

    def lent(self):
        return self.world.maintenance in self.world.groups_of(self.server)

    def arrives_after(self, looks):
        """Somebody comes directly after this number of looks have been answered."""
        def come(action, _):
            if action == "describe_network_interfaces" and len(self.world.called("describe_sessions")) == looks:
                self.world.sessions.setdefault("late-1", (self.target, self.world.clock.now, float("inf")))
        self.world.faults.append(come)

    def looks_of_an_unused_life(self):
        world = self.world
        world.finish(self.watch())
        looks = len(world.called("describe_sessions")) - 1
        world.close()
        self.setUp()
        return looks

    def test_the_look_is_the_last_call_before_the_list_is_written(self):
        self.world.finish(self.watch())
        actions = [action for _, action, _ in self.world.calls]
        written = len(actions) - 1 - actions[::-1].index("modify_network_interface_attribute")
        self.assertEqual(actions[written - 2:written], ["describe_network_interfaces", "describe_sessions"])

    def test_who_comes_in_the_last_moment_keeps_the_group(self):
        self.arrives_after(self.looks_of_an_unused_life())
        life = self.watch()
        self.world.run(3600)
        self.assertFalse(self.world.ended(life))
        self.assertTrue(self.lent())
        self.world.leave("late-1")
        self.assertIn("nobody was on it", self.world.finish(life)["output"])
        self.assertFalse(self.lent())

    def test_a_hand_started_instance_is_watched_on(self):
        instance, interface = self.world.instance("running")
        self.target, self.server = instance, interface
        life = self.world.start(instance, group=self.world.maintenance, interface=interface)
        self.world.run(100)
        self.arrives_after(len(self.world.called("describe_sessions")) + 1)
        self.world.run(3600)
        self.assertFalse(self.world.ended(life))
        self.world.leave("late-1")
        self.world.finish(life)
        self.assertFalse(self.lent())
        self.assertEqual(self.world.state(instance), "running")

    def test_a_life_that_has_stopped_its_instance_does_not_look_again(self):
        instance, interface = self.world.instance()
        self.world.finish(self.world.start(instance, group=self.world.maintenance, interface=interface))
        stopped = self.world.called("stop_instances")[0]
        self.assertLessEqual(max(self.world.called("describe_sessions")), stopped)

    def test_the_limit_and_a_failure_take_the_group_back_without_a_look(self):
        life = self.watch(limit_seconds=600)
        self.world.arrive(self.target, "alice-1")
        self.world.finish(life)
        self.assertFalse(self.lent())
        self.assertEqual(self.world.calls[-3][1:2], ("describe_network_interfaces",))
        self.assertEqual(self.world.calls[-2][1:2], ("modify_network_interface_attribute",))

    def test_a_last_look_that_fails_is_tried_three_times(self):
        looks = self.looks_of_an_unused_life()
        self.world.faults.append(lambda action, number: (
            ("ThrottlingException", "Rate exceeded") if action == "describe_sessions" and number > looks else None))
        self.assertEqual(self.world.finish(self.watch())["status"], "SUCCEEDED")
        self.assertEqual(len(self.world.called("describe_sessions")), looks + 3)
        self.assertFalse(self.lent())


if __name__ == "__main__":
    unittest.main()
