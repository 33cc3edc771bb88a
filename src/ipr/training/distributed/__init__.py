"""One training over several processes: `trainer=ddp`.

The fit alone is distributed. The process of rank 0 does everything around it: it finds runs, makes claims, judges,
writes and prints. The others take part in each fit and do nothing else. Each optimises with Lightning's DDP.

On one machine rank 0 starts the others for each fit (`launcher.py`). Lightning's launchers cannot: one starts the whole
command again in every process, the other moves rank 0, with its lease and its dashboard, into a new process. Under
torchrun or srun every process runs the command, and those of rank 1 and above wait to be called (`worker.py`).
"""
