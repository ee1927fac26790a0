"""What workers, processes and time do: trainings that end, fail, die anywhere, or are overtaken."""

from __future__ import annotations

from typing import Any

from chalicelib.services import training
from chalicelib.storage.training_queue import Delivery
from tests.support.machine.deployment import BrokenTraining, QuickTraining
from tests.support.machine.operators import Operators
from tests.support.machine.steps import always, biases, slots, some, step
from tests.support.machine.world import Message
from training_job.pipeline import Train


def dying(death: str) -> Any:
    """The rule that a worker dies at this point of its work."""

    def die(self: Workers) -> None:
        self._work(QuickTraining(), death)

    die.__name__ = f"die_{death.replace(' ', '_')}"
    return step(lambda self: self._nobody_is_at_work())(die)


class Workers(Operators):
    """Trains and dies, lets time pass, sweeps and restarts."""

    @step(lambda self: self._nobody_is_at_work(), bias=biases)
    def train(self, bias: float) -> None:
        self._work(QuickTraining(bias))

    @step(lambda self: self._nobody_is_at_work(), slot=slots, n=some)
    def train_while_students_practise(self, slot: int, n: int) -> None:
        self._work(QuickTraining(meanwhile=lambda: self.practise(slot, 0, 0, n)))

    @step(lambda self: self._nobody_is_at_work())
    def fail(self) -> None:
        self._work(BrokenTraining())

    die_at_receive = dying("at receive")
    die_at_lease = dying("at lease")
    die_in_training = dying("in training")
    die_between_files = dying("between files")
    die_before_the_pointer = dying("before the pointer")
    die_after_the_pointer = dying("after the pointer")
    die_before_finish = dying("before finish")
    die_before_delete = dying("before delete")
    die_before_the_next_request = dying("before the next request")

    @step(lambda self: self._nobody_is_at_work())
    def be_overtaken(self) -> None:
        """Another worker trains the same request, since this one's lease ran out."""

        def overtake() -> None:
            self.world.take_up()
            self.time_passes()
            self._work(None)

        self._work(QuickTraining(meanwhile=overtake), overtaken=True)

    @step(lambda self: self.deliveries or (self.world.live and self.world.live.held))
    def time_passes(self) -> None:
        """Leases and visibility time-outs of dead workers run out."""
        for delivery in self.deliveries.values():
            self.deployment.worker.queue.extend(delivery, 0)
        self._show_all()
        if self.world.live is not None and self.world.live.held:
            self.deployment.move_clock("lease_expires_at", 1.0)
            self.world.live.held = False

    @step(lambda self: self.deliveries)
    def a_message_comes_again_early(self) -> None:
        """Its visibility runs out before the lease."""
        for delivery in self.deliveries.values():
            self.deployment.worker.queue.extend(delivery, 0)
        self._show_all()

    @step(lambda self: self.world.live)
    def sweep_a_minute_later(self) -> None:
        world, api = self.world, self.deployment.api
        if world.unsent:
            self.deployment.move_clock("training_requested_at", 60.0)
        sent = training.sweep(api.tracker, api.queue, api.policy)
        assert len(sent) == world.unsent
        if world.unsent:
            assert world.live is not None
            world.unsent = False
            world.queue.append(Message(world.live.id))

    @step(lambda self: self.world.live and not self.world.live.held and not self.world.unsent)
    def sweep_ten_minutes_later(self) -> None:
        world, api = self.world, self.deployment.api
        assert world.live is not None
        self.deployment.move_clock("training_enqueued_at", 601.0)
        assert training.sweep(api.tracker, api.queue, api.policy) == [world.live.id]
        # By now the queue would take the same id again; this one still remembers it while the message is there.
        if all(message.request != world.live.id for message in world.queue):
            world.queue.append(Message(world.live.id))

    @step(lambda self: self.world.waits)
    def a_sweep_after_the_wait(self) -> None:
        world, api = self.world, self.deployment.api
        self.deployment.move_clock("next_training_at", 1.0)
        world.waits = False
        due = world.is_due()
        sent = training.sweep(api.tracker, api.queue, api.policy)
        if due:
            self.did("requested after the wait")
            world.ask(self._live_request())
        assert sent == ([world.live.id] if due and world.live is not None else [])

    @step(always)
    def restart(self) -> None:
        self.deployment.stop()
        self.deployment.start()

    def _nobody_is_at_work(self) -> bool:
        return not self.deliveries

    def _see_to_a_message(self) -> None:
        """Let there be something to train for."""
        if self.world.live is None:
            self.force_a_training()
        elif self.world.unsent:
            self.sweep_a_minute_later()
        elif not self.world.queue:
            self.time_passes()
            self.sweep_ten_minutes_later()

    def _show_all(self) -> None:
        self.deliveries.clear()
        for message in self.world.queue:
            message.hidden = False

    def _receive(self) -> tuple[Message, Delivery] | None:
        expected = self.world.receivable()
        delivery = self.deployment.worker.queue.receive(0)
        if expected is None or delivery is None:
            assert (expected, delivery) == (None, None)
            return None
        expected.receives, expected.hidden = expected.receives + 1, True
        assert delivery.request is not None
        assert (delivery.request.request_id, delivery.receive_count) == (expected.request, expected.receives)
        self.deliveries[expected.request] = delivery
        return expected, delivery

    def _gone(self, message: Message) -> None:
        self.world.queue.remove(message)
        del self.deliveries[message.request]

    def _work(self, train: Train | None, death: str | None = None, overtaken: bool = False) -> None:
        """A worker receives a message and deals with it, to its end or its death."""
        self._see_to_a_message()
        received = self._receive()
        if received is None:
            return
        message, delivery = received
        world, live = self.world, self.world.live
        if live is None or live.id != message.request:
            self.did("message of a request that is over")
            died = self.deployment.work(delivery, train, death)
            assert died == (death in ("at receive", "before delete"))
            if not died:
                self._gone(message)
        elif live.held or death == "at receive":
            self.did("request held by another" if live.held else "death at receive")
            died = self.deployment.work(delivery, train, death if death == "at receive" else None)
            assert died == (death == "at receive")
        elif world.covered() is None and not world.trainable:
            self._skip(message, delivery, train, death)
        elif isinstance(train, BrokenTraining) and world.covered() is None:
            self._fail(message, delivery, train)
        elif overtaken and world.covered() is None:
            self.did("overtaken")
            assert not self.deployment.work(delivery, train, death)
        else:
            self._train(message, delivery, train, death)

    def _skip(self, message: Message, delivery: Delivery, train: Train | None, death: str | None) -> None:
        died = self.deployment.work(delivery, train, death if death in ("at lease", "before delete") else None)
        self.world.take_up()
        if death == "at lease":
            self.did("death at lease")
            return
        self.did("skipped")
        self.world.skip()
        assert died == (death == "before delete")
        if not died:
            self._gone(message)

    def _fail(self, message: Message, delivery: Delivery, train: Train | None) -> None:
        last = message.receives == 3
        self.did("given up" if last else "failed")
        assert not self.deployment.work(delivery, train, None)
        self.world.take_up()
        self.world.fail(last)
        self.deployment.worker.queue.extend(delivery, 0)
        self._show_all()

    def _train(self, message: Message, delivery: Delivery, train: Train | None, death: str | None) -> None:
        """Everything from the lease to the deletion, as far as it got."""
        world, live, registry = self.world, self.world.live, self.deployment.worker.registry
        assert delivery.request is not None
        assert live is not None
        version, covered = delivery.request.version, world.covered()
        counted, samples = covered or (world.counter, world.total)
        died = self.deployment.work(delivery, train, death)
        world.take_up()
        if death == "at lease" or (covered is None and death in ("in training", "between files")):
            self.did(f"death {death}")
            assert died
            return
        if covered is None:
            live.made = (version, counted, samples)
            verdict = registry.read_metadata(self.deployment.cohort, version)["promotion"]
            promoted = verdict["promoted"]
            assert promoted or world.pinned or world.champion is not None
            assert not (promoted and (world.pinned or live.outranked))
            self.did("promoted" if promoted else "pinned" if world.pinned else "not promoted")
            if promoted and death == "before the pointer":
                self.did(f"death {death}")
                assert died
                return
            if promoted:
                world.promote(version)
            if promoted and death == "after the pointer":
                self.did(f"death {death}")
                assert died
                return
        else:
            self.did("finished what was published")
        self._end(message, counted, samples, death, died)

    def _end(self, message: Message, counted: int, samples: int, death: str | None, died: bool) -> None:
        world = self.world
        if death == "before finish":
            self.did(f"death {death}")
            assert died
            return
        world.finish(counted, samples, None)
        due = world.is_due()
        sent = not died and due
        if due:
            self.did("next training at once")
            world.ask(self._live_request(), sent)
        assert died == (death == "before delete" or (due and death == "before the next request"))
        if died:
            self.did(f"death {death}")
        if death != "before delete":
            self._gone(message)
