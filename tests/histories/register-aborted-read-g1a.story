aborted read (G1a): the first read x = 1 of the second, which did not commit
  T1 = process 1 at gateway 2, 30 – 40, ok: read x = 1
  T2 = process 0 at gateway 1, 10 – 20, failed: write x = 1
