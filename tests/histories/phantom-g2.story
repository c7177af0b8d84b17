phantom (G2): 2 transactions, each before the next, in a circle
  T1 = process 0 at gateway 1, 10 – 50, ok: scan left/7/ = {}; scan right/7/ = {}; write left/7/1 = 1
  T2 = process 1 at gateway 2, 12 – 52, ok: scan left/7/ = {}; scan right/7/ = {}; write right/7/2 = 2
  T1 before T2: T1 looked for rows and did not find right/7/2, before T2 wrote 2
  T2 before T1: T2 looked for rows and did not find left/7/1, before T1 wrote 1
