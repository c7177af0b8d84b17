intermediate read (G1b): the first read x = 1, which the second replaced before it committed
  T1 = process 1 at gateway 2, 20 – 60, ok: read x = 1
  T2 = process 0 at gateway 1, 10 – 50, ok: write x = 1; write x = 2
