"""What each step of Configure means, for beginners: plain HTML."""

VISIBLE = (
    "<p class='quiet'><b>Others can see it.</b> This page is open to everybody: whoever looks at your run sees some of "
    "your file's questions and answers. Upload nothing private. Deleting the run deletes the file.</p>"
)

STUDENT = """
<h3>The student</h3>
<p>The small language model that you want to improve. Its own weights do not change: what it learns is kept in an
<b>adapter</b>, a small file of additions that can be switched off. So before and after can be compared at any
time.</p>
<p class="quiet">The bundled student is tiny (half a million parameters). It has read word problems, but in a chat it
blurts out an answer. It trains in a minute on two cores.</p>
"""

TEACHERS = """
<h3>The teachers</h3>
<p>What a teacher is asked depends on the method: how it represents each text (its <b>hidden state</b>, a list of as
many numbers as the model is wide), how likely it finds the solution, or what it would answer. The results are kept on
disk, so most teachers are asked only once, one at a time.</p>
<p class="quiet">For most methods they need not resemble the student or each other: widths and tokenizers (how a model
cuts text into pieces) may differ. Two methods need the student's own tokenizer: step 4 says which.
A teacher keeps the colour it has here in every picture of the run; the order matters for nothing else.</p>
"""

PROBLEMS = """
<h3>The problems</h3>
<p>The student is trained on some problems, and asked others, which it never saw, before and after. Only those show
whether it learned to solve problems or memorized the ones it saw.</p>
<p class="quiet">Problems <b>in new wordings</b> are harder still: neither the facts nor the phrases were in training.
The rows of a file or data set are divided into these groups by their questions, so that no question is in two.</p>
"""

METHOD = """
<h3>Which method?</h3>
<p>Switch on one method or several: their losses are added up, each times its weight. They differ in what they need and
cost.</p>
<h4>With any teachers, asked once</h4>
<dl>
<dt>The teachers' own answers</dt><dd>The simplest. Teachers write whole answers, which takes the longest before
training; after that it costs no more than ordinary training.</dd>
<dt>Hidden states</dt><dd>The most detailed. Takes much disk space: a vector for each token and layer. Combine it with
another method, as it does not teach what to write.</dd>
<dt>Sense of similarity</dt><dd>One vector for each problem: little disk space, and the teachers' widths don't matter.
Large batches are better. Combine it with another method, too.</dd>
<dt>Likelihoods across tokenizers</dt><dd>The counterpart of probabilities for teachers with another tokenizer. One
number for each piece of text.</dd>
</dl>
<h4>With teachers that have the student's tokenizer</h4>
<dl>
<dt>Probabilities</dt><dd>Exact, and more informative than one right word. Either the likeliest tokens are stored on
disk before training, or the teachers stay in memory.</dd>
<dt>Own answers, corrected</dt><dd>The student learns from its own mistakes. Teachers stay in memory, and the student
writes answers while it trains: the slowest steps.</dd>
</dl>
<h4>Without teachers</h4>
<dl><dt>Worked solutions</dt><dd>Ordinary training on the data's own solutions, which goes well with the
others.</dd></dl>
<p class="quiet">A <b>tokenizer</b> cuts text into pieces; steps 1 and 2 name each model's. The <b>gate</b>
decides, text by text, how much each of several teachers counts. Their effect on the student is under Insight.</p>
"""

BUDGET = """
<h3>The budget</h3>
<p>At each <b>step</b> the student reads a batch of problems and its adapter is updated a little. More steps take longer
and teach more, up to a point. The <b>learning rate</b> sets the size of each update.</p>
<p class="quiet">Only the adapter is trained (<b>LoRA</b>: small low-rank matrices beside the student's own). Its
rank limits how much can be learned.</p>
"""

REVIEW = """
<h3>Then what?</h3>
<p>The run is a process of its own: you can close this page and come back. One run trains at a time; others wait in a
queue.</p>
<p class="quiet">Stop it whenever you like: it saves its state and can be resumed later.</p>
"""
