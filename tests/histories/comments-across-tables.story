causal reverse (G-single-realtime): 3 transactions, each before the next, in a circle
  T1 = process 2 at gateway 3, 5 – 50, ok: scan comments0/ = {}; scan comments1/ = {comments1/2: 2}
  T2 = process 0 at gateway 1, 10 – 20, ok: write comments0/1 = 1
  T3 = process 1 at gateway 2, 30 – 40, ok: write comments1/2 = 2
  T1 before T2: T1 looked for rows and did not find comments0/1, before T2 wrote 1
  T2 before T3: T2 was answered at 20, T3 began at 30
  T3 before T1: T3 wrote comments1/2 = 2, which T1 read
