"""Laws of the kernel over random programs: a generator, a driver, and a reference to agree with.

`programs.py` writes programs as source text, `rig.py` runs one against the real `Kernel`,
`reference.py` is a second, far simpler kernel (it runs everything again from the start for each
cause), and `play.py` plays random messages, duplicates, crashes and verbs to both.
"""
