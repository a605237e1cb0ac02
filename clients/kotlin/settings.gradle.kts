rootProject.name = "edgebehave"
