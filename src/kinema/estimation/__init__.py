"""From images to skeletons: a person detector, pose estimators behind one interface, and a tracker that keeps persons apart.

    tracker = make_tracker("auto")                 # backends.py: finds the models' files
    poses = tracker.step(image, time)              # tracker.py: list of TrackedPose, one for each person
    clip = estimate_poses("film.mp4")              # film.py: a whole video as a Clip

Values and interfaces are in poses.py.
"""
