"""What each step of Configure means, for beginners: plain HTML."""

STUDENT = """
<h3>The student</h3>
<p>A small language model that is to become better at something. It stays as it is: what it learns is kept in an
<b>adapter</b>, a small file of additions that can be taken off again. So before and after can be compared any
time.</p>
<p class="quiet">The zoo's student is tiny (half a million parameters) and has read word problems, but in a chat it
blurts an answer. It trains in a minute on two cores.</p>
"""

TEACHERS = """
<h3>The teachers</h3>
<p>What a teacher is asked depends on the method: what it makes of each text (its <b>hidden state</b>, a list of as many
numbers as the model is wide), how likely it finds the solution, or what it would answer. What it says is kept on disk,
so most teachers are asked once, one at a time, and never again.</p>
<p class="quiet">For most methods they need not resemble the student or each other: widths and tokenizers (how a model
cuts text into pieces) may differ. Two methods need the student's own tokenizer: step 4 says which.
A teacher keeps the colour it has here in every picture of the run; the order decides no more than that.</p>
"""

PROBLEMS = """
<h3>The problems</h3>
<p>The student is trained on some, and asked others, which it never saw, before and after. Only those show whether it
learned to solve problems or learned these by heart.</p>
<p class="quiet">Problems <b>in new wordings</b> are harder still: neither the facts nor the phrases were in training.
Rows of a file or data set fall into those groups by their questions, so that no question is in two.</p>
"""

METHOD = """
<h3>Which method?</h3>
<p>Switch on one aim or several: they are added up, each times its weight. They differ in what they need and cost.</p>
<h4>With any teachers, asked once</h4>
<dl>
<dt>The teachers' own answers</dt><dd>The simplest. Teachers write whole answers, which takes longest of what is asked
once; after that it costs no more than ordinary training.</dd>
<dt>Inner states</dt><dd>Says most about each word. Takes much disk: a vector for each word and layer. Goes beside
another aim, as it says nothing of what to write.</dd>
<dt>Sense of what is alike</dt><dd>One vector for each problem: little disk, and the teachers' widths don't matter.
Large batches are better. Goes beside another aim too.</dd>
<dt>Likelihoods across tokenizers</dt><dd>What probabilities are to teachers of the same tokenizer, for all others. One
number for each piece of text.</dd>
</dl>
<h4>With teachers that have the student's tokenizer</h4>
<dl>
<dt>Probabilities</dt><dd>Exact, and more telling than one right word. Asked once, the likeliest words are kept on disk;
or live, the teachers staying in memory.</dd>
<dt>Own answers, corrected</dt><dd>The student learns from the very mistakes it makes. Teachers stay in memory, and the
student writes while it trains: the slowest steps.</dd>
</dl>
<h4>Without teachers</h4>
<dl><dt>Worked solutions</dt><dd>Ordinary training on the data's own solutions, and a sound companion to the
others.</dd></dl>
<p class="quiet">A <b>tokenizer</b> cuts text into pieces; steps 1 and 2 name each model's. The <b>gate</b>
decides, text by text, how much each of several teachers counts. What they did to the student is under Insight.</p>
"""

BUDGET = """
<h3>The budget</h3>
<p>At each <b>step</b> the student reads a handful of problems and is changed a little. More steps take longer and teach
more, up to a point. The <b>learning rate</b> says how much a little is.</p>
<p class="quiet">Only the adapter is trained (<b>LoRA</b>: small low-rank matrices beside the student's own). Its
rank is how much can be learned at all.</p>
"""

REVIEW = """
<h3>Then what?</h3>
<p>The run is a process of its own: you can close this page and come back. One run trains at a time; others wait
their turn.</p>
<p class="quiet">Stop it whenever you like: it saves what it has, and can go on later.</p>
"""
