"""What each step of Configure means, for those who have never done this. Plain HTML, nothing but text."""

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
<p>Each teacher reads every problem once and says two things: what it makes of the text (its <b>hidden state</b>, a
list of as many numbers as the model is wide) and how likely it finds the solution. The answers are kept on disk, so
teachers are asked one at a time, and never again.</p>
<p class="quiet">They need not resemble the student or each other: widths and tokenizers (how a model cuts text
into pieces) may differ. A teacher keeps the colour it has here in every picture of the run; the order decides no
more than that.</p>
"""

PROBLEMS = """
<h3>The problems</h3>
<p>The student is trained on some, and asked others, which it never saw, before and after. Only those show whether it
learned to solve problems or learned these by heart.</p>
<p class="quiet">Problems <b>in new wordings</b> are harder still: neither the facts nor the phrases were in training.
Rows of a file or data set fall into those groups by their questions, so that no question is in two.</p>
"""

METHOD = """
<h3>The method</h3>
<p><b>Worked solutions</b> alone would be ordinary training. What the teachers add is <b>geometry</b>: which problems
they find alike. Agreement is measured by <b>CKA</b>: 1 is full agreement, about 0 is chance.</p>
<p>The <b>gate</b> decides, problem by problem, how much each teacher counts. You can watch it under Insight.</p>
<p class="quiet">Several aims are added up, each times its weight.</p>
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
