"""Lives of instances and tasks, on the real definition (see world.py)."""

import unittest

from world import SIX_MINUTES, World, denied, lost, throttled

CALLS = ("describe_instances", "describe_security_groups", "describe_network_interfaces",
         "modify_network_interface_attribute", "start_instances", "stop_instances", "describe_sessions")


def throttled_every_second_look(action, number):
    return ("ThrottlingException", "Rate exceeded") if action == "describe_sessions" and number % 2 else None


def assert_day_fits(test, world, life):
    """Each round has at most 17 events, and 1440 rounds with all that is around them fewer than 25,000."""
    rounds = world.rounds(life)
    test.assertEqual(len(rounds), len(world.called("describe_sessions")) // 2)
    test.assertGreaterEqual(len(rounds), 110)
    test.assertLessEqual(max(rounds), 17)
    test.assertLess(17 * 1440 + len(world.events(life)) - sum(rounds), 25_000)


class Lives(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)

    def lend(self, instance, interface, **given):
        return self.world.start(instance, interface=interface, group=self.world.maintenance, **given)

    def test_an_unused_instance_is_started_and_stopped_after_the_grace(self):
        instance, _ = self.world.instance()
        life = self.world.start(instance, grace_seconds=120)
        self.world.run(60)
        self.assertEqual(self.world.state(instance), "running")
        self.assertIn('"nobody was on it"', self.world.finish(life)["output"])
        self.assertEqual(self.world.state(instance), "stopping")
        self.assertLessEqual(self.world.clock.now, 30 + 120 + 2 * 60)

    def test_a_listed_session_keeps_it(self):
        instance, _ = self.world.instance()
        life = self.world.start(instance)
        self.world.run(60)
        self.world.arrive(instance, "alice-1")
        self.world.run(3600)
        self.assertEqual(self.world.state(instance), "running")
        self.world.leave("alice-1")
        left = self.world.clock.now
        self.world.finish(life)
        self.assertEqual(self.world.state(instance), "stopping")
        self.assertLessEqual(self.world.clock.now - left, 120 + 2 * 60)

    def test_one_look_that_sees_nobody_does_not_end_a_life(self):
        instance, _ = self.world.instance()
        life = self.world.start(instance, grace_seconds=60)
        self.world.arrive(instance, "alice-1")
        self.world.run(280)
        self.world.leave("alice-1")
        self.world.run(70)
        self.world.arrive(instance, "alice-2")
        self.world.run(600)
        self.assertFalse(self.world.ended(life))
        self.assertEqual(self.world.state(instance), "running")

    def test_the_limit_ends_it_under_a_session(self):
        instance, interface = self.world.instance()
        life = self.lend(instance, interface, limit_seconds=1800)
        self.world.arrive(instance, "forgotten-1")
        self.assertIn("the limit is reached", self.world.finish(life)["output"])
        self.assertLessEqual(self.world.clock.now, 1810)
        self.assertEqual(self.world.state(instance), "stopping")
        self.assertEqual(self.world.groups_of(interface), [self.world.own])

    def test_a_day_of_the_longest_rounds_fits_into_a_history(self):
        instance, interface = self.world.instance()
        # The longest round: the first try of the look is throttled, and so is the look at the instance.
        self.world.faults.append(throttled_every_second_look)
        life = self.lend(instance, interface, limit_seconds=7200)
        self.world.run(60)
        self.world.faults.append(throttled("describe_instances", 999_999))
        self.world.arrive(instance, "forgotten-1")
        self.world.finish(life)
        assert_day_fits(self, self.world, life)

    def test_a_day_of_a_life_that_only_watches_fits_into_a_history(self):
        _, server = self.world.instance("running")
        self.world.faults.append(throttled_every_second_look)
        life = self.world.start(watch="mi-0a", interface=server, group=self.world.maintenance, limit_seconds=7200)
        self.world.arrive("mi-0a", "forgotten-1")
        self.world.finish(life)
        assert_day_fits(self, self.world, life)

    def test_no_limit_is_longer_than_a_day(self):
        instance, _ = self.world.instance("running")
        life = self.world.start(instance, limit_seconds=999_999)
        self.world.finish(life)
        variables = self.world.execution(life).exec_worker.env.variable_store._inner_scope
        self.assertEqual(variables["limit"], 86_400)
        self.assertEqual(variables["deadline"], 1_700_000_000_000 + 86_400_000)

    def test_a_hand_started_instance_is_watched_but_not_stopped(self):
        instance, interface = self.world.instance("running")
        life = self.lend(instance, interface)
        self.world.run(30)
        self.assertIn(self.world.maintenance, self.world.groups_of(interface))
        self.assertEqual(self.world.finish(life)["status"], "SUCCEEDED")
        self.assertEqual(self.world.state(instance), "running")
        self.assertEqual(self.world.groups_of(interface), [self.world.own])

    def test_a_hand_started_instance_is_stopped_if_stop_is_always(self):
        instance, _ = self.world.instance("running")
        self.world.finish(self.world.start(instance, stop="always"))
        self.assertEqual(self.world.state(instance), "stopping")

    def test_a_hand_stop_ends_the_life(self):
        instance, interface = self.world.instance()
        life = self.lend(instance, interface)
        self.world.arrive(instance, "alice-1")
        self.world.run(300)
        self.world.machines[instance].stop()
        self.assertIn("the instance was stopped", self.world.finish(life)["output"])
        self.assertNotIn("stop_instances", [action for _, action, _ in self.world.calls])
        self.assertEqual(self.world.groups_of(interface), [self.world.own])

    def test_a_hand_stop_without_a_session_is_not_undone(self):
        instance, _ = self.world.instance()
        life = self.world.start(instance, grace_seconds=600)
        self.world.run(100)
        self.world.machines[instance].stop()
        self.world.finish(life)
        self.world.run(SIX_MINUTES)
        self.assertEqual(self.world.state(instance), "stopped")

    def test_who_comes_while_it_is_stopping_waits_and_starts_it_again(self):
        instance, _ = self.world.instance("running")
        self.world.machines[instance].stop()
        life = self.world.start(instance)
        self.world.run(90)
        self.assertEqual(self.world.state(instance), "running")
        self.world.finish(life)
        self.assertEqual(self.world.state(instance), "stopping")

    def test_two_lives_of_one_instance_end_with_it_stopped(self):
        for delay in (0, 3, 20, 100, 144, 145, 146, 160):
            with self.subTest(delay=delay):
                instance, interface = self.world.instance()
                first = self.lend(instance, interface)
                self.world.run(delay)
                second = self.lend(instance, interface)
                self.world.run(200)
                self.assertIn(self.world.state(instance), ("running", "stopping", "stopped", "pending"))
                self.world.finish(first, second)
                self.world.run(SIX_MINUTES)
                self.assertEqual(self.world.state(instance), "stopped")
                self.assertEqual(self.world.groups_of(interface), [self.world.own])
                self.assertEqual(self.world.running(), [])

    def test_a_life_that_joins_late_starts_it_again_after_the_first_has_stopped_it(self):
        instance, _ = self.world.instance()
        first = self.world.start(instance)
        self.world.run(140)
        second = self.world.start(instance)
        self.world.finish(first)
        self.world.run(125)
        self.assertEqual(self.world.state(instance), "running")
        self.world.arrive(instance, "alice-1")
        self.world.run(600)
        self.assertEqual(self.world.state(instance), "running")
        self.world.leave("alice-1")
        self.world.finish(second)
        self.assertEqual(self.world.state(instance), "stopping")

    def test_edits_of_the_groups_in_between_are_kept(self):
        instance, interface = self.world.instance()
        life = self.lend(instance, interface)
        self.world.run(60)
        other = self.world.group("other")
        # moto lists the instance's own group on its interface in any case.
        self.world.put_groups(interface, [self.world.own, other, self.world.maintenance])
        self.world.finish(life)
        self.assertEqual(self.world.groups_of(interface), sorted([self.world.own, other]))

    def test_a_group_that_was_on_the_interface_stays(self):
        instance, interface = self.world.instance()
        self.world.put_groups(interface, [self.world.own, self.world.maintenance])
        self.world.finish(self.lend(instance, interface))
        self.assertEqual(self.world.groups_of(interface), sorted([self.world.own, self.world.maintenance]))

    def test_the_group_goes_to_the_instances_first_interface_unless_one_is_named(self):
        instance, interface = self.world.instance()
        life = self.world.start(instance, group=self.world.maintenance)
        self.world.run(30)
        self.assertIn(self.world.maintenance, self.world.groups_of(interface))
        self.world.finish(life)
        self.assertEqual(self.world.groups_of(interface), [self.world.own])

    def test_a_server_behind_the_bastion_has_the_group_while_the_bastion_is_used(self):
        bastion, _ = self.world.instance()
        _, server = self.world.instance("running")
        life = self.lend(bastion, server)
        self.world.arrive(bastion, "alice-1")
        self.world.run(1200)
        self.assertIn(self.world.maintenance, self.world.groups_of(server))
        self.world.leave("alice-1")
        self.world.finish(life)
        self.assertEqual(self.world.groups_of(server), [self.world.own])

    def refused(self, group, interface, instance, cause):
        answer = self.world.finish(self.world.start(instance, interface=interface, group=group))
        self.assertEqual((answer["status"], self.world.state(instance)), ("FAILED", "stopped"))
        self.assertIn(cause, answer["cause"])
        self.assertNotIn("start_instances", [action for _, action, _ in self.world.calls])

    def test_a_group_that_cannot_be_lent_is_refused_before_anything_is_changed(self):
        instance, interface = self.world.instance()
        other_vpc = self.world.client["ec2"].create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        guarded = [{"Key": "fumidai:guarded", "Value": "true"}]
        self.refused(self.world.group("abroad", guarded, other_vpc), interface, instance, "another VPC")
        self.refused(self.world.group("untagged"), interface, instance, "the group is not tagged")
        self.world.client["ec2"].delete_tags(Resources=[interface], Tags=guarded)
        self.refused(self.world.maintenance, interface, instance, "the interface is not tagged")
        self.assertEqual(self.world.groups_of(interface), [self.world.own])

    def test_an_interface_that_is_full_is_an_error_before_the_start(self):
        instance, interface = self.world.instance()
        full = [self.world.own] + [self.world.group(f"g{number}") for number in range(4)]
        self.world.put_groups(interface, full)
        self.refused(self.world.maintenance, interface, instance, "limit 5")
        self.assertEqual(self.world.groups_of(interface), sorted(full))

    def test_an_input_without_a_target_fails_without_a_call(self):
        for given in ({}, {"instance": "web"}, {"instance": "", "group": "sg-1"}, {"group": "SG", "instance": "i-0a"}):
            answer = self.world.finish(self.world.start(**given))
            self.assertEqual((answer["status"], answer["error"]), ("FAILED", "fumidai.BadInput"))
        self.assertEqual(self.world.calls, [])

    def test_a_terminated_instance_fails_at_once(self):
        instance, _ = self.world.instance("terminated")
        answer = self.world.finish(self.world.start(instance))
        self.assertEqual((answer["error"], answer["cause"]), ("fumidai.NotStartable", "the instance is terminated"))

    def test_a_capacity_error_is_tried_again_for_five_minutes(self):
        instance, interface = self.world.instance()
        self.world.faults.append(lambda action, number: (
            ("InsufficientInstanceCapacity", "no capacity") if action == "start_instances" else None))
        answer = self.world.finish(self.lend(instance, interface))
        self.assertEqual((answer["error"], answer["cause"][:11]), ("fumidai.StartFailed", "no capacity"))
        self.assertTrue(300 <= self.world.clock.now <= SIX_MINUTES)
        self.assertEqual(self.world.groups_of(interface), [self.world.own])


class Faults(unittest.TestCase):
    """Each API call denied, throttled and lost in turn."""

    def life(self, *faults, **given):
        world = World()
        self.addCleanup(world.close)
        instance, interface = world.instance()
        world.faults.extend(faults)
        life = world.start(instance, interface=interface, group=world.maintenance, **given)
        world.run(200)
        return world, instance, interface, life

    def test_what_is_denied_leaves_nothing_behind_but_what_it_cannot_undo(self):
        for action in CALLS:
            with self.subTest(action=action):
                world, instance, interface, life = self.life(denied(action))
                answer = world.finish(life)
                world.run(SIX_MINUTES)
                self.assertIn(answer["status"], ("FAILED", "SUCCEEDED"))
                self.assertEqual(world.state(instance), "running" if action == "stop_instances" else "stopped")
                self.assertEqual(world.groups_of(interface), [world.own])
                self.assertEqual(answer["status"], "FAILED")
                self.assertIn("not authorized", answer["cause"])
                world.close()

    def test_what_is_denied_after_the_start_is_undone_all_the_same(self):
        for action in CALLS:
            with self.subTest(action=action):
                world = World()
                instance, interface = world.instance()
                life = world.start(instance, interface=interface, group=world.maintenance)
                world.run(70)
                world.faults.append(denied(action))
                world.finish(life)
                world.run(SIX_MINUTES)
                stays = {"stop_instances": world.state(instance) == "running",
                         "modify_network_interface_attribute": world.maintenance in world.groups_of(interface),
                         "describe_network_interfaces": world.maintenance in world.groups_of(interface)}
                self.assertEqual(world.state(instance) == "stopped", action != "stop_instances")
                self.assertEqual(world.maintenance in world.groups_of(interface), stays.get(action, False) and action != "stop_instances")
                world.close()

    def test_what_is_throttled_or_lost_is_done_in_the_end(self):
        for action in CALLS:
            for fault in (throttled(action, 1), lost(action), lambda called, number, action=action: (
                    ("RequestLimitExceeded", "Request limit exceeded.") if called == action and number % 2 else None)):
                with self.subTest(action=action):
                    world, instance, interface, life = self.life(fault)
                    answer = world.finish(life)
                    world.run(SIX_MINUTES)
                    self.assertEqual(answer["status"], "SUCCEEDED")
                    self.assertEqual(world.state(instance), "stopped")
                    self.assertEqual(world.groups_of(interface), [world.own])
                    world.close()

    def test_a_lost_answer_of_the_start_still_owes_the_stop(self):
        world, instance, _, life = self.life(lost("start_instances", 30))
        world.finish(life)
        world.run(SIX_MINUTES)
        self.assertEqual(world.state(instance), "stopped")

    def test_looks_that_fail_for_half_an_hour_end_the_life(self):
        world, instance, _, life = self.life(denied("describe_sessions"))
        answer = world.finish(life)
        self.assertEqual(answer["error"], "fumidai.CannotSee")
        self.assertLess(world.clock.now, 40 * 60)

    def test_answers_that_are_a_minute_late_change_no_end(self):
        for state in ("stopped", "running"):
            world = World()
            world.stale = 60
            instance, interface = world.instance(state)
            life = world.start(instance, interface=interface, group=world.maintenance)
            world.run(100)
            world.arrive(instance, "alice-1")
            world.run(900)
            self.assertEqual(world.state(instance), "running")
            world.leave("alice-1")
            world.finish(life)
            world.run(SIX_MINUTES)
            self.assertEqual(world.state(instance), state)
            self.assertEqual(world.groups_of(interface), [world.own])
            world.close()


class Tasks(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        ecs = self.world.client["ecs"]
        ecs.create_cluster(clusterName="maintenance")
        ecs.register_task_definition(family="bastion", networkMode="awsvpc", cpu="256", memory="512",
                                     requiresCompatibilities=["FARGATE"], containerDefinitions=[{"name": "bastion", "image": "a", "memory": 512}])
        self.task = {"cluster": "maintenance", "task_definition": "bastion", "subnets": [self.world.subnet],
                     "security_groups": [self.world.own], "container": "bastion"}

    def status(self):
        ecs = self.world.client["ecs"]
        tasks = ecs.list_tasks(cluster="maintenance", startedBy="fumidai/bastion-a")["taskArns"] + ecs.list_tasks(
            cluster="maintenance", desiredStatus="STOPPED")["taskArns"]
        return [task["lastStatus"] for task in ecs.describe_tasks(cluster="maintenance", tasks=list(set(tasks)))["tasks"]] if tasks else []

    def target(self):
        described = [arguments for _, action, arguments in self.world.calls if action == "describe_sessions"]
        return described[-1]["Filters"][0]["Value"]

    def test_a_task_runs_while_it_is_used_and_is_stopped_after(self):
        life = self.world.start(task=self.task, host="bastion.a")
        self.world.run(100)
        self.assertEqual(self.status(), ["RUNNING"])
        target = self.target()
        self.assertRegex(target, r"^ecs:maintenance_[0-9a-f-]+_r-1$")
        self.world.arrive(target, "alice-1")
        self.world.run(1200)
        self.assertEqual(self.status(), ["RUNNING"])
        self.world.leave("alice-1")
        self.assertEqual(self.world.finish(life)["status"], "SUCCEEDED")
        self.assertEqual(self.status(), ["STOPPED"])
        ran = [arguments for _, action, arguments in self.world.calls if action == "run_task"][0]
        self.assertEqual(ran["Overrides"]["ContainerOverrides"][0]["Command"], ["sleep", "43200"])
        self.assertLessEqual(len(ran["ClientToken"]), 64)

    def test_a_second_life_joins_the_task_of_the_first(self):
        first = self.world.start(task=self.task, host="bastion.a")
        self.world.run(10)
        second = self.world.start(task=self.task, host="bastion.a")
        self.world.finish(first, second)
        self.assertEqual(sum(1 for _, action, _ in self.world.calls if action == "run_task"), 1)
        self.assertEqual(self.status(), ["STOPPED"])

    def test_a_day_fits_into_a_history(self):
        self.world.faults.append(throttled_every_second_look)
        life = self.world.start(task=self.task, limit_seconds=7200)
        self.world.run(100)
        self.world.arrive(self.target(), "forgotten-1")
        self.world.finish(life)
        assert_day_fits(self, self.world, life)

    def test_client_tokens_are_the_ends_of_the_names(self):
        for name in ("task-maintenance-bastion_0123456789ab", "task-" + "c" * 62 + "_0123456789ab"):
            self.world.finish(self.world.start(name=name, task=self.task, host=name[-12:]))
        names = [arguments["ClientToken"] for _, action, arguments in self.world.calls if action == "run_task"]
        self.assertEqual(names, ["task-maintenance-bastion_0123456789ab", "c" * 51 + "_0123456789ab"])

    def test_a_successor_stops_the_task_that_it_has_joined(self):
        first = self.world.start(name="task-a-b_000000000001", task=self.task, host="bastion.a", limit_seconds=900)
        self.world.run(100)
        target = self.target()
        self.world.arrive(target, "alice-1")
        second = self.world.start(name="task-a-b_x000000000002", task=self.task, host="bastion.a", extends=True)
        self.assertIn("another life goes on", self.world.finish(first)["output"])
        self.assertEqual(self.status(), ["RUNNING"])
        self.world.leave("alice-1")
        self.assertIn('"stopped": true', self.world.finish(second)["output"])
        self.assertEqual(self.status(), ["STOPPED"])

    def test_an_agent_that_does_not_come_ends_the_task(self):
        self.world.agent_after = 9999
        answer = self.world.finish(self.world.start(task=self.task, host="bastion.a"))
        self.assertEqual(answer["error"], "fumidai.NotRunning")
        self.assertIn("ExecuteCommandAgent", answer["cause"])
        self.assertEqual(self.status(), ["STOPPED"])

    def test_a_task_that_cannot_be_placed_is_the_lives_failure(self):
        self.world.faults.append(denied("run_task"))
        answer = self.world.finish(self.world.start(task=self.task, host="bastion.a"))
        self.assertEqual((answer["status"], answer["error"]), ("FAILED", "fumidai.TaskFailed"))


if __name__ == "__main__":
    unittest.main()
