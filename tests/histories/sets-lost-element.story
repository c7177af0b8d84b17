stale read (G-single-realtime): 2 transactions, each before the next, in a circle
  T1 = process 2 at gateway 3, 30 – 40, ok: scan set/ = {set/2: 2}
  T2 = process 0 at gateway 1, 10 – 20, ok: write set/1 = 1
  T1 before T2: T1 looked for rows and did not find set/1, before T2 wrote 1
  T2 before T1: T2 was answered at 20, T1 began at 30
