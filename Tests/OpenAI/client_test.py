"""The official OpenAI client against the live daemon: files, jobs, models, embeddings and errors on an encoder, texts on a
decoder.

CORAD_BINARY is the daemon, CORAD_TEST_MODEL the encoder; the decoder is made here. The tests of a base share one daemon
with a key and a base path, as behind a proxy; each makes what it needs.
"""

import base64
import json
import os
import pathlib
import struct
import subprocess
import tempfile
import time
import unittest

import openai

import make_decoder

KEY = "secret-of-the-test"
TOPICS = {
    "billing": ["the card was charged twice", "my invoice shows the wrong sum", "please refund the payment"],
    "access": ["cannot log in today", "the password reset does not arrive", "my account is locked"],
    "parcel": ["the parcel never came", "the box arrived broken", "where is my delivery"],
}
ROWS = [
    {"text": f"{text}, number {n}", "label": label}
    for n in range(8) for label, texts in TOPICS.items() for text in texts
]
FINAL = {"succeeded", "failed", "cancelled"}


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


class DaemonTest(unittest.TestCase):
    @classmethod
    def model(cls, folder):
        return os.environ["CORAD_TEST_MODEL"]

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="corad-openai-")
        cls.addClassCleanup(cls.folder.cleanup)
        folder = pathlib.Path(cls.folder.name)
        (folder / "key").write_text(KEY + "\n")
        log = open(folder / "log", "wb")
        cls.addClassCleanup(log.close)
        cls.daemon = subprocess.Popen(
            [
                os.environ["CORAD_BINARY"], "serve", "--model", cls.model(folder),
                "--store", str(folder / "corad.sqlite"), "--listen", "127.0.0.1:0", "--base-path", "/corad",
                "--api-key-file", str(folder / "key"),
            ],
            stdout=subprocess.PIPE, stderr=log,
        )
        cls.addClassCleanup(cls.stop)
        url = None
        for line in cls.daemon.stdout:
            if line.startswith(b"listening on "):
                url = line.split()[2].decode()
                break
        if url is None:
            raise RuntimeError(f"the daemon ended:\n{(folder / 'log').read_text()}")
        cls.url = url.removesuffix("/corad")
        cls.client = cls.connect(KEY)

    @classmethod
    def connect(cls, key):
        return openai.OpenAI(api_key=key, base_url=f"{cls.url}/corad/v1", max_retries=0, timeout=60)

    @classmethod
    def stop(cls):
        if cls.daemon.poll() is None:
            cls.daemon.terminate()
        try:
            code = cls.daemon.wait(timeout=60)
        except subprocess.TimeoutExpired:
            cls.daemon.kill()
            raise
        cls.daemon.stdout.close()
        if code != 0:
            raise RuntimeError(f"the daemon ended with {code}")

    def refused(self, error, call, *, code, param=None):
        with self.assertRaises(error) as context:
            call()
        self.assertEqual(context.exception.code, code)
        self.assertEqual(context.exception.param, param)
        return context.exception


class ClientTest(DaemonTest):
    def upload(self, rows=ROWS, name="tickets.jsonl"):
        return self.client.files.create(file=(name, lines(rows)), purpose="fine-tune")

    def follow(self, job):
        """Polls the events until the job has ended: (the job, the events, oldest first)."""
        while True:
            found = self.client.fine_tuning.jobs.retrieve(job.id)
            if found.status in FINAL:
                break
            time.sleep(0.05)
        events = list(self.client.fine_tuning.jobs.list_events(job.id, limit=5))
        return found, events[::-1]

    def test_files(self):
        file = self.upload(name="my tickets.jsonl")
        self.assertEqual((file.object, file.purpose, file.status), ("file", "fine-tune", "processed"))
        self.assertEqual(file.filename, "my_tickets.jsonl")
        self.assertLess(abs(file.created_at - time.time()), 60)
        self.assertEqual(self.client.files.retrieve(file.id).to_dict(), file.to_dict())
        other = self.upload(ROWS[:9])
        ids = [found.id for found in self.client.files.list(limit=1, purpose="fine-tune")]
        self.assertLess(ids.index(other.id), ids.index(file.id))
        content = self.client.files.content(file.id).text
        self.assertEqual([json.loads(line) for line in content.splitlines()], ROWS)
        self.assertTrue(self.client.files.delete(file.id).deleted)
        self.refused(openai.NotFoundError, lambda: self.client.files.retrieve(file.id), code="dataset-not-found")

    def test_files_of_every_kind(self):
        for rows in (
            [{"text": "a", "text_pair": "b", "labels": ["x", "y"]}],
            [{"text": "a", "value": 1.5, "weight": 2}],
            [{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "d", "negative": "e"}],
            [{"prompt": "a", "completion": "b"}],
            [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}],
        ):
            file = self.upload(rows)
            content = self.client.files.content(file.id).text
            self.assertEqual([json.loads(line) for line in content.splitlines()], rows)

    def test_files_that_are_refused(self):
        bad = self.refused(
            openai.UnprocessableEntityError, lambda: self.upload(ROWS[:2] + [{"text": "a"}]), code="invalid-row")
        self.assertEqual(bad.body["line"], 3)
        unanswered = [{"messages": [{"role": "user", "content": "a"}]}]
        self.refused(openai.UnprocessableEntityError, lambda: self.upload(unanswered), code="invalid-row")
        self.refused(
            openai.UnprocessableEntityError,
            lambda: self.client.files.create(file=("a", lines(ROWS)), purpose="assistants"),
            code="validation-failed", param="purpose")

    def test_an_encoder_learns_no_writing(self):
        file = self.upload([{"prompt": "a", "completion": "b"}] * 20)
        error = self.refused(
            openai.UnprocessableEntityError,
            lambda: self.client.fine_tuning.jobs.create(model="base", training_file=file.id),
            code="validation-failed", param="/training_file")
        self.assertIn("encoder", error.message)

    def test_job(self):
        file = self.upload()
        jobs = self.client.fine_tuning.jobs
        made = jobs.create(
            model="base", training_file=file.id, suffix="support", seed=11,
            hyperparameters={"n_epochs": 4, "batch_size": 16, "learning_rate_multiplier": 1.5},
            metadata={"why": "test"},
        )
        self.assertIn(made.status, {"queued", "running"})
        self.assertEqual((made.training_file, made.seed), (file.id, 11))
        self.assertEqual(made.hyperparameters.learning_rate_multiplier, 1.5)
        job, events = self.follow(made)
        self.assertEqual((job.status, job.fine_tuned_model), ("succeeded", "support@1"), job.error)
        self.assertGreaterEqual(job.finished_at, job.created_at)
        messages = [event.message for event in events]
        self.assertEqual(messages[:2], ["The job is queued.", "The job is running."])
        self.assertEqual(messages[-1], "The job is succeeded.")
        steps = [event for event in events if event.type == "metrics" and event.data.get("loss") is not None]
        self.assertTrue(steps)
        self.assertEqual(len({event.id for event in events}), len(events))
        self.assertEqual([event.created_at for event in events], sorted(event.created_at for event in events))
        self.assertIn(job.id, [found.id for found in jobs.list(limit=2)])
        # The method may be given in its own field; the version is gone on from.
        more = jobs.create(
            model="support@1", training_file=file.id,
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}})
        again, _ = self.follow(more)
        self.assertEqual((again.status, again.fine_tuned_model), ("succeeded", "support@2"), again.error)
        self.assertEqual((again.model, again.hyperparameters.n_epochs), ("support@1", 1))
        # It is the task that the native route knows.
        answer = self.client.with_options(base_url=f"{self.url}/corad").post(
            "/adapters/support/infer", cast_to=object, body={"inputs": "the box arrived broken"})
        self.assertEqual((answer["version"], answer["predictions"][0]["label"]), (2, "parcel"))
        ids = [model.id for model in self.client.models.list()]
        self.assertEqual(ids[0], "base")
        self.assertIn("support", ids)
        model = self.client.models.retrieve("support@1")
        self.assertEqual((model.id, model.parent, model.root), ("support@1", "base", "base"))
        self.assertTrue(self.client.models.delete("support@1").deleted)
        self.refused(
            openai.ConflictError, lambda: self.client.models.delete("support@2"), code="in-use")
        self.assertTrue(self.client.models.delete("support").deleted)
        self.refused(
            openai.NotFoundError, lambda: self.client.models.retrieve("support"), code="task-not-found")

    def test_job_is_named_for_its_file(self):
        job = self.client.fine_tuning.jobs.create(
            model="base", training_file=self.upload(name="letters.jsonl").id, hyperparameters={"n_epochs": 1})
        self.assertEqual(self.follow(job)[0].fine_tuned_model, "letters@1")

    def test_job_paused_resumed_and_cancelled(self):
        jobs = self.client.fine_tuning.jobs
        file = self.upload()
        job = jobs.create(
            model="base", training_file=file.id, suffix="slow", hyperparameters={"n_epochs": 1000})
        while jobs.retrieve(job.id).status == "queued":
            time.sleep(0.02)
        self.assertEqual(jobs.pause(job.id).status, "paused")
        self.assertEqual(jobs.retrieve(job.id).status, "paused")
        checkpoints = list(jobs.checkpoints.list(job.id))
        self.assertTrue(checkpoints)
        self.assertTrue(all(found.fine_tuning_job_id == job.id for found in checkpoints))
        self.assertTrue(all(found.step_number == found.metrics.step for found in checkpoints))
        self.assertTrue(all(abs(found.created_at - time.time()) < 600 for found in checkpoints))
        self.refused(openai.ConflictError, lambda: self.client.files.delete(file.id), code="in-use")
        self.assertIn(jobs.resume(job.id).status, {"queued", "running"})
        self.assertEqual(jobs.cancel(job.id).status, "cancelled")
        found, events = self.follow(job)
        self.assertEqual((found.status, found.fine_tuned_model), ("cancelled", None))
        messages = [event.message for event in events]
        self.assertIn("The job is paused.", messages)
        self.assertEqual(messages[-1], "The job is cancelled.")
        self.refused(openai.ConflictError, lambda: jobs.resume(job.id), code="job-state")
        self.assertEqual(list(jobs.checkpoints.list(job.id)), [])

    def test_jobs_that_are_refused(self):
        jobs = self.client.fine_tuning.jobs
        file = self.upload(ROWS[:9]).id
        invalid = openai.UnprocessableEntityError
        self.refused(
            openai.NotFoundError, lambda: jobs.create(model="base", training_file="ds_none"),
            code="dataset-not-found")
        self.refused(
            openai.NotFoundError, lambda: jobs.create(model="gpt-9", training_file=file), code="task-not-found")
        self.refused(
            invalid, lambda: jobs.create(model="base", training_file=file, validation_file=file),
            code="validation-failed", param="/validation_file")
        self.refused(
            invalid, lambda: jobs.create(model="base", training_file=file, method={"type": "dpo"}),
            code="validation-failed", param="/method/type")
        self.refused(
            invalid, lambda: jobs.create(model="base", training_file=file, hyperparameters={"n_epochs": 0}),
            code="validation-failed", param="/hyperparameters/n_epochs")
        one = self.upload([{"text": f"a {n}", "label": "only"} for n in range(9)]).id
        self.refused(
            invalid, lambda: jobs.create(model="base", training_file=one), code="validation-failed",
            param="/training_file")
        self.refused(openai.NotFoundError, lambda: jobs.retrieve("none"), code="job-not-found")

    def test_embeddings(self):
        texts = ["the card was charged twice", "my card has two charges", "snow in the mountains"]
        # The client asks for base64 where no format is given.
        answer = self.client.embeddings.create(model="base", input=texts)
        vectors = [found.embedding for found in answer.data]
        self.assertEqual([found.index for found in answer.data], [0, 1, 2])
        self.assertEqual((answer.model, len(vectors[0])), ("base", 384))
        self.assertGreater(answer.usage.prompt_tokens, 10)
        product = lambda a, b: sum(x * y for x, y in zip(a, b))
        self.assertAlmostEqual(product(vectors[0], vectors[0]), 1, places=3)
        self.assertGreater(product(vectors[0], vectors[1]), product(vectors[0], vectors[2]) + 0.2)
        plain = self.client.embeddings.create(model="base", input=texts[0], encoding_format="float")
        self.assertLess(max(abs(a - b) for a, b in zip(plain.data[0].embedding, vectors[0])), 1e-5)
        raw = self.client.embeddings.with_raw_response.create(
            model="base", input=texts[0], encoding_format="base64").http_response.text
        data = base64.b64decode(json.loads(raw)["data"][0]["embedding"])
        self.assertAlmostEqual(struct.unpack("<384f", data)[0], plain.data[0].embedding[0], places=6)

    def test_embeddings_of_a_task(self):
        rows = [{"anchor": text, "positive": label} for label, texts in TOPICS.items() for text in texts] * 2
        job = self.client.fine_tuning.jobs.create(
            model="base", training_file=self.upload(rows).id, suffix="pairs", hyperparameters={"n_epochs": 1})
        self.assertEqual(self.follow(job)[0].status, "succeeded")
        answer = self.client.embeddings.create(model="pairs", input="a")
        self.assertEqual((answer.model, len(answer.data[0].embedding)), ("pairs@1", 384))

    def test_embeddings_that_are_refused(self):
        create = self.client.embeddings.create
        invalid = openai.UnprocessableEntityError
        self.refused(invalid, lambda: create(model="base", input=[1, 2]), code="validation-failed", param="/input")
        self.refused(
            invalid, lambda: create(model="base", input="a", dimensions=3), code="validation-failed",
            param="/dimensions")
        self.refused(
            invalid, lambda: create(model="base", input=["a", "word " * 400]), code="text-too-long",
            param="/input/1")
        self.refused(openai.NotFoundError, lambda: create(model="none", input="a"), code="task-not-found")

    def test_an_encoder_does_not_write(self):
        chat = lambda **fields: self.client.chat.completions.create(
            model="base", messages=[{"role": "user", "content": "Hi"}], **fields)
        for call in (
            chat, lambda: chat(stream=True), lambda: self.client.completions.create(model="base", prompt="Hi"),
        ):
            error = self.refused(openai.InternalServerError, call, code="not-implemented")
            self.assertEqual(error.status_code, 501)
        self.refused(
            openai.UnprocessableEntityError, lambda: chat(n=2), code="validation-failed", param="/n")
        self.refused(
            openai.UnprocessableEntityError, lambda: chat(response_format={"type": "json_object"}),
            code="validation-failed", param="/response_format")
        self.refused(
            openai.NotFoundError, lambda: self.client.completions.create(model="none", prompt="Hi"),
            code="task-not-found")

    def test_keys(self):
        error = self.refused(
            openai.AuthenticationError, lambda: self.connect("another").models.list(), code="unauthorized")
        self.assertEqual(error.type, "authentication_error")
        self.assertTrue(error.request_id)


class WriterTest(DaemonTest):
    MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]

    @classmethod
    def model(cls, folder):
        make_decoder.main(folder / "decoder")
        return str(folder / "decoder")

    def chat(self, **fields):
        fields = {"model": "base", "messages": self.MESSAGES, "max_tokens": 24, "seed": 1, **fields}
        return self.client.chat.completions.create(**fields)

    def complete(self, **fields):
        fields = {"model": "base", "prompt": "a story", "max_tokens": 24, "temperature": 0, **fields}
        return self.client.completions.create(**fields)

    def test_a_chat_whole_and_streamed(self):
        whole = self.chat()
        message = whole.choices[0].message
        self.assertEqual((message.role, whole.choices[0].finish_reason), ("assistant", "length"))
        self.assertTrue(message.content)
        self.assertEqual(whole.usage.completion_tokens, 24)
        self.assertEqual(whole.usage.total_tokens, whole.usage.prompt_tokens + 24)
        self.assertEqual((whole.model, whole.object), ("base", "chat.completion"))
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, message.content)
        self.assertEqual(chunks[-2].choices[0].finish_reason, "length")
        self.assertEqual(chunks[-1].usage.completion_tokens, 24)
        self.assertGreaterEqual(chunks[-1].usage.prompt_tokens_details.cached_tokens, 0)
        self.assertNotEqual(self.chat(seed=2).choices[0].message.content, message.content)

    def test_log_probabilities_have_the_tokens_bytes(self):
        choice = self.chat(logprobs=True, top_logprobs=3).choices[0]
        tokens = choice.logprobs.content
        self.assertEqual(len(tokens), 24)
        said = b"".join(bytes(token.bytes) for token in tokens if token.token not in ("<|im_start|>", "<|im_end|>",
                                                                                    "<|endoftext|>"))
        self.assertEqual(said.decode(errors="replace"), choice.message.content)
        for token in tokens:
            best = [other.logprob for other in token.top_logprobs]
            self.assertEqual(best, sorted(best, reverse=True))
            self.assertLessEqual(token.logprob, best[0])
        old = self.complete(logprobs=2).choices[0].logprobs
        self.assertEqual((len(old.tokens), len(old.top_logprobs), old.text_offset[0]), (24, 24, 0))

    def test_completions_stop_and_several_prompts(self):
        whole = self.complete()
        text = whole.choices[0].text
        self.assertEqual("".join(chunk.choices[0].text for chunk in self.complete(stream=True)), text)
        stop = text[len(text) // 2:len(text) // 2 + 4]
        stopped = self.complete(stop=stop).choices[0]
        self.assertEqual(stopped.finish_reason, "stop")
        self.assertEqual(stopped.text, text[:text.index(stop)])
        two = self.complete(prompt=["a story", "a tale"])
        self.assertEqual([choice.index for choice in two.choices], [0, 1])
        self.assertEqual(two.choices[0].text, text)

    def test_what_is_refused(self):
        invalid = openai.UnprocessableEntityError
        tool = [{"role": "tool", "content": "a", "tool_call_id": "1"}]
        error = self.refused(invalid, lambda: self.chat(messages=tool), code="template-failed")
        self.assertEqual((error.body["reason"], error.body["line"]), ("no tools here", 2))
        long = "word " * 2000
        error = self.refused(invalid, lambda: self.complete(prompt=long), code="text-too-long", param="/prompt")
        self.assertEqual(error.body["limit"], 1023)
        self.refused(invalid, lambda: self.complete(max_tokens=2000), code="validation-failed", param="/max_tokens")
        self.refused(openai.NotFoundError, lambda: self.complete(model="none"), code="task-not-found")
        self.refused(
            invalid, lambda: self.client.embeddings.create(model="base", input="a"), code="validation-failed",
            param="/model")


if __name__ == "__main__":
    unittest.main()
